"""What a device answers: its owner's rules, checked against the strategy that a run resolves to.

The server sends the run, so nothing in it can be trusted: neither its recipe nor
its noise, cohorts or budget. The rules are checked on the strategy that all of it
resolves to, and nothing in a run can relax them.
"""

import hashlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Self

from hedgerow import checks
from hedgerow.client.graph_rules import NO_GRAPHS, GraphRules
from hedgerow.client.kinds import IN_THE_CLEAR, KNOWN, NAMES
from hedgerow.client.limits import NO_LIMITS, Limits
from hedgerow.privacy.events import Event, mechanism
from hedgerow.secure.errors import Refused
from hedgerow.strategies.strategy import Strategy

_NOISE_RULES = ("client_noise", "sample_noise", "client_epsilon", "sample_epsilon")


class AgainstPolicy(Refused):
    """A run that this device's policy does not allow.

    The message names the rule. It is made only from the rules and from what the
    run asks for, so it reveals nothing about the device's data.
    """


class PolicyError(ValueError):
    """A policy, or record of answers, that cannot be trusted: the device then answers nothing."""


@dataclass(frozen=True)
class Policy:
    """The rules of one device; by default, those of a device that was enrolled.

    Attributes:
        masked_only: it sends no update in the clear, and takes part only if
            the strategy masks.
        evaluate: it evaluates a model when asked; no rule may require noise or set a
            budget. If the strategy masks, its results go into a masked sum; in the
            clear only if `statistics` is set too, and `masked_only` is not.
        statistics: its answers may reveal loss and number of samples in the
            clear, and it answers `query` messages other than the one for its name.
        most_answers: limit on the updates that it sends, masked or not, and the
            models that it evaluates, in all runs together; `None` for no limit.
        models: it fetches the model that its coordinator has promoted.
        min_clients: smallest cohort in which it sends a masked update.
        corrupt: fraction of a cohort that may collude with the server: thresholds and
            floors of a masked round must hold against at least that many.
        failure_bits: the chance that they do not is at most `2**-failure_bits`.
        client_noise: smallest noise multiplier of what clients add to a sum; 0 for none.
        sample_noise: smallest noise multiplier of a step of local training; 0 for none.
        delta: of both epsilons; well below 1 / clients and 1 / samples.
        client_epsilon: limit on what its updates reveal about it, in all runs. Only
            noise that clients add counts. `None` for no limit.
        sample_epsilon: the same for each of its samples, by the noise in its training.
        recipes: packaged ones, or files on the device, that a run may name; `None` for all packaged ones.
        data: data sets, or paths on the device, that a run may name beside the device's own data.
        strategies: `strategy_hash` of the strategies that it takes part in; empty
            for all. It restricts the other rules, and relaxes none.
        graphs: those that it takes, to train by them.
        limits: what the device gives of its machine, and when; not a rule for runs.

    Raises:
        ValueError: a value is out of range.
    """

    masked_only: bool = True
    evaluate: bool = False
    statistics: bool = False
    most_answers: int | None = None
    models: bool = True
    min_clients: int = 10
    corrupt: float = 0.2
    failure_bits: int = 40
    client_noise: float = 0.0
    sample_noise: float = 0.0
    delta: float = 1e-5
    client_epsilon: float | None = None
    sample_epsilon: float | None = None
    recipes: tuple[str, ...] | None = None
    data: tuple[str, ...] = ()
    strategies: tuple[str, ...] = ()
    graphs: GraphRules = NO_GRAPHS
    limits: Limits = NO_LIMITS

    def __post_init__(self) -> None:
        for name in ("masked_only", "evaluate", "statistics", "models"):
            if not isinstance(value := getattr(self, name), bool):
                raise ValueError(f"{name} is {value!r}; it must be true or false")
        checks.whole(3, min_clients=self.min_clients)
        checks.whole(20, 128, failure_bits=self.failure_bits)
        checks.probability(corrupt=self.corrupt)
        checks.not_negative(client_noise=self.client_noise, sample_noise=self.sample_noise)
        checks.inside(delta=self.delta)
        for name in ("client_epsilon", "sample_epsilon"):
            if (value := getattr(self, name)) is not None:
                checks.positive(**{name: value})
        if self.most_answers is not None:
            checks.whole(1, most_answers=self.most_answers)
        for name in ("recipes", "data", "strategies"):
            given = getattr(self, name)
            if given is not None and not all(isinstance(text, str) and text for text in given):
                raise ValueError(f"{name} is {list(given)!r}; it must be a list of strings")

    @classmethod
    def unenrolled(cls) -> Self:
        """The rules of a device that has neither an enrolment nor a policy."""
        return cls(
            masked_only=False, evaluate=True, statistics=True, min_clients=3, corrupt=0.0, failure_bits=20
        )

    def check_recipe(self, recipe: str, packaged: Collection[str]) -> None:
        """Refuse a recipe that a run may not name, without looking at any file.

        Raises:
            AgainstPolicy: it is neither packaged nor listed.
        """
        if recipe not in (packaged if self.recipes is None else self.recipes):
            raise AgainstPolicy(
                "rule recipes: a run may name packaged recipes, or those that the device's policy lists"
            )

    def check(self, kind: str, strategy: Strategy) -> None:
        """Refuse a message that breaks a rule; earlier spending is not considered.

        Raises:
            AgainstPolicy: naming every rule that it breaks.
        """
        if broken := self.refusals(kind, strategy):
            raise AgainstPolicy("; ".join(broken))

    def refusals(self, kind: str, strategy: Strategy) -> list[str]:
        """Every rule that a message breaks, with the reason.

        Args:
            kind: of the message, such as `"query"`, `"train"` or `"train.masked"`.
            strategy: what the run resolves to.

        >>> from hedgerow.strategies import fedavg
        >>> [text.partition(":")[0] for text in Policy().refusals("train.keys", fedavg())]
        ['rule masked_only', 'rule statistics']
        """
        rules = _MESSAGE_RULES if kind in NAMES else _MESSAGE_RULES + _STRATEGY_RULES
        asked = _Asked(self, kind, strategy)
        return [f"rule {name}: {why}" for name, why in ((name, rule(asked)) for name, rule in rules) if why]


def client_event(strategy: Strategy) -> Event | None:
    """The event of one update in the account of the client that sends it; `None` if clients add no noise.

    Whoever sums knows who took part, and the server may start as many runs as it
    likes, so neither sampling at random nor the order of rounds is relied on.
    """
    noise = strategy.pipeline.protection.noise
    if noise is None or not noise.min_honest or not strategy.pipeline.sum_only:
        return None
    return mechanism(noise.event(strategy.sampling, 0, None))


def strategy_hash(strategy: Strategy) -> str:
    """A hash, 64 hex digits, that two strategies share only if a client does the same in both.

    >>> from hedgerow.strategies import fedavg
    >>> strategy_hash(fedavg()) == strategy_hash(fedavg(quorum=0.9))
    True
    >>> strategy_hash(fedavg()) == strategy_hash(fedavg(weighted=False))
    False
    """
    parts = [
        repr(strategy.sampling.name), strategy.local.listed, repr(strategy.pipeline.name),
        repr([s.name for s in strategy.streams]), *([repr(strategy.personal)] if strategy.personal else []),
    ]  # fmt: skip
    return hashlib.sha256(f"({', '.join(parts)})".encode()).hexdigest()


@dataclass(frozen=True)
class _Asked:
    policy: Policy
    kind: str
    strategy: Strategy

    @property
    def measures(self) -> bool:
        """Whether the device is asked how well a model does on its data, without noise."""
        return self.kind.startswith("evaluate")

    @property
    def hidden(self) -> bool:
        """Whether what it tells goes into a masked sum."""
        return self.strategy.pipeline.sum_only and self.kind in KNOWN and self.kind not in IN_THE_CLEAR


def _evaluate(asked: _Asked) -> str:
    if not asked.measures:
        return ""
    if not asked.policy.evaluate:
        return "the device does not evaluate models for others"
    noise = [name for name in _NOISE_RULES if getattr(asked.policy, name)]
    return f"an evaluation is reported without the noise required by {', '.join(noise)}" if noise else ""


def _queries(asked: _Asked) -> str:
    refused = asked.kind.startswith("query.") and not asked.policy.statistics
    return "the device tells its name, and nothing about its data" if refused else ""


def _messages(asked: _Asked) -> str:
    refused = not asked.kind.startswith("query") and asked.kind not in KNOWN
    return f"there is no message {asked.kind[:60]!r}" if refused else ""


def _clear(asked: _Asked) -> str:
    if not asked.policy.masked_only:
        return ""
    if asked.kind == "train":
        return "the device sends no update in the clear"
    if asked.kind == "evaluate":
        return "the device tells nothing that it measures in the clear"
    return "" if asked.strategy.pipeline.sum_only else "the strategy does not mask"


def _statistics(asked: _Asked) -> str:
    if asked.policy.statistics or asked.hidden:
        return ""
    if asked.measures:
        return "an evaluation in the clear reveals loss and number of samples"
    told = not asked.strategy.pipeline.sum_only and not asked.strategy.local.sample_noise
    return "an update in the clear reveals loss and number of samples" if told else ""


def _min_clients(asked: _Asked) -> str:
    secure, least = asked.strategy.pipeline.protection.secure, asked.policy.min_clients
    if secure is None or secure.min_clients >= least:
        return ""
    return f"the run has cohorts of {secure.min_clients} clients; at least {least} are required"


def _corrupt(asked: _Asked) -> str:
    secure, least = asked.strategy.pipeline.protection.secure, asked.policy.corrupt
    if secure is None or secure.corrupt >= least:
        return ""
    return f"the run tolerates a corrupt fraction of {secure.corrupt:g}; it must tolerate {least:g}"


def _failure_bits(asked: _Asked) -> str:
    secure, least = asked.strategy.pipeline.protection.secure, asked.policy.failure_bits
    if secure is None or secure.failure_bits >= least:
        return ""
    return f"the run's protocol may fail with 2^-{secure.failure_bits}; at most 2^-{least} is allowed"


def _client_noise(asked: _Asked) -> str:
    least, noise = asked.policy.client_noise, asked.strategy.pipeline.protection.noise
    if not least:
        return ""
    if noise is None or client_event(asked.strategy) is None:
        return f"clients add no noise under a mask; a multiplier of at least {least:g} is required"
    found = noise.multiplier
    return "" if found >= least else f"clients' noise multiplier is {found:g}; it must be {least:g} or more"


def _sample_noise(asked: _Asked) -> str:
    found, least = asked.strategy.local.sample_noise, asked.policy.sample_noise
    return "" if found >= least else f"sample_noise is {found:g}; it must be {least:g} or more"


def _client_epsilon(asked: _Asked) -> str:
    refused = asked.policy.client_epsilon is not None and client_event(asked.strategy) is None
    return "the device has a budget, and clients add no noise under a mask" if refused else ""


def _sample_epsilon(asked: _Asked) -> str:
    refused = asked.policy.sample_epsilon is not None and not asked.strategy.local.sample_noise
    return "the device has a budget, and local training adds no noise" if refused else ""


def _strategies(asked: _Asked) -> str:
    listed, found = asked.policy.strategies, strategy_hash(asked.strategy)
    return "" if not listed or found in listed else f"the strategy {found} is not listed"


_Rules = list[tuple[str, Callable[[_Asked], str]]]
_MESSAGE_RULES: _Rules = [("evaluate", _evaluate), ("statistics", _queries), ("messages", _messages)]
_STRATEGY_RULES: _Rules = [
    ("masked_only", _clear),
    ("statistics", _statistics),
    ("min_clients", _min_clients),
    ("corrupt", _corrupt),
    ("failure_bits", _failure_bits),
    ("client_noise", _client_noise),
    ("sample_noise", _sample_noise),
    ("client_epsilon", _client_epsilon),
    ("sample_epsilon", _sample_epsilon),
    ("strategies", _strategies),
]
