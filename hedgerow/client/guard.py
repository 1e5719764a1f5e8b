"""The guard of a device's data: its policy, and the record of what it has revealed so far.

A device keeps three files beside its policy, whatever the run, the client's
name or the strategy, and never starts them afresh:

    answers.jsonl           a line for each answer that it has sent
    privacy-clients.jsonl   what its updates have revealed about it
    privacy-samples.jsonl   what they have revealed about each of its samples
"""

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias, final

from hedgerow.client import account, policy_file
from hedgerow.client.kinds import BEGINNINGS, OPENINGS, UPDATES
from hedgerow.client.limits import NotAvailable
from hedgerow.client.machine import Machine
from hedgerow.client.policy import AgainstPolicy, Policy, PolicyError, client_event
from hedgerow.files import append_line, locked, read_lines, who_else_can_write
from hedgerow.graphs.bundle import Graphs
from hedgerow.graphs.errors import BadGraphs
from hedgerow.graphs.inspection import inspect
from hedgerow.graphs.offer import Offer
from hedgerow.privacy.accounting import Budget
from hedgerow.privacy.ledger import Ledger
from hedgerow.sealed import check, seal
from hedgerow.secure.errors import Refused
from hedgerow.strategies.strategy import Strategy
from hedgerow.types import PayloadError

log = logging.getLogger("hedgerow")

_LONGEST = 60  # characters of a round's name, which comes from the server
_MOVED = {"most-rounds": "most_answers", "account": "sample_epsilon"}


@final
@dataclass(frozen=True)
class Guard:
    """A device's policy, and where it records what it has revealed.

    Attributes:
        policy: its rules.
        folder: for the files above; `None` for a device that has neither an
            enrolment nor a policy, which only logs its answers.
        data: the device's own data set, a name or a path; empty if its app
            is made with the data.
        data_options: options of the loader of a path, such as `label`.
    """

    policy: Policy
    folder: Path | None = None
    data: str = ""
    data_options: tuple[tuple[str, Any], ...] = ()

    @property
    def discreet(self) -> bool:
        """Whether errors stay on the device, whatever the strategy."""
        return self.folder is not None or bool(self.data)

    @property
    def samples_file(self) -> Path | None:
        """The account of the device's samples."""
        return None if self.folder is None else self.folder / "privacy-samples.jsonl"

    @property
    def answers(self) -> int:
        """The number of updates that the device has sent and models that it has evaluated.

        Raises:
            PolicyError: the file of answers cannot be read.
        """
        if self.folder is None:
            return 0
        file = self.folder / "answers.jsonl"
        try:
            return sum(check(json.loads(line))["kind"] in UPDATES for line in read_lines(file))
        except (OSError, ValueError, KeyError, TypeError) as error:
            # To go on without it would be to forget what was revealed.
            raise PolicyError(f"{file} cannot be read: {error}; restore it from a copy") from error

    @contextmanager
    def alone(self, kind: str) -> Iterator[None]:
        """Hold a lock for one update: two that are checked at once could together exceed a limit."""
        if self.folder is None or kind not in UPDATES:
            yield
            return
        with locked(self.folder / "answers.lock"):
            yield

    def available(self, kind: str, machine: Machine | None = None) -> None:
        """Refuse new work outside the device's limits; a round that it has begun goes on.

        Raises:
            NotAvailable: with the reasons, which are for the device's own log.
        """
        if kind in BEGINNINGS and (why := self.policy.limits.reasons(machine or Machine())):
            raise NotAvailable("; ".join(why.values()))

    def check(self, kind: str, strategy: Strategy) -> None:
        """Refuse a message that breaks a rule, or whose answer would exceed a limit.

        Raises:
            AgainstPolicy: naming the rules that it breaks.
            LedgerError, PolicyError: the record of earlier answers cannot be read.
        """
        self.policy.check(kind, strategy)
        if kind not in (*UPDATES, *OPENINGS):
            return
        most = self.policy.most_answers
        if most is not None and self.answers >= most:
            raise AgainstPolicy(
                f"rule most_answers: the device has answered {most} times, which is its limit"
            )
        for name, ledger, event, times in self._accounts(strategy):
            if ledger.budget.epsilon is not None and not ledger.allows(event, times):
                raise AgainstPolicy(f"rule {name}: one more update would exceed the device's budget")

    def check_offer(self, offer: Offer, strategy: Strategy) -> None:
        """Refuse graphs that the device does not take, before any of them is fetched.

        Raises:
            AgainstPolicy: naming the rules that they break.
        """
        protected = strategy.pipeline.sum_only or strategy.local.sample_noise > 0
        if broken := self.policy.graphs.refusals(offer, protected=protected):
            raise AgainstPolicy("; ".join(broken))

    def check_graphs(self, graphs: Graphs) -> int:
        """Refuse graphs that are not what they must be; the bytes that a run of one takes at most.

        Raises:
            AgainstPolicy: naming the graph, and what it is refused for.
        """
        try:
            return inspect(graphs, self.policy.graphs.megabytes * 2**20)
        except BadGraphs as error:
            raise AgainstPolicy(f"rule graphs: {error}") from error

    def record(self, kind: str, strategy: Strategy, *, run: int, round: str, size: int) -> None:
        """Record an answer before it is sent.

        Raises:
            OSError: it cannot be written; then nothing may be sent.
        """
        if self.folder is not None and kind in UPDATES:
            for name, ledger, event, times in self._accounts(strategy):
                if name == "client_epsilon":  # the samples' account is written when they are trained on
                    ledger.write(
                        ledger.releases + 1, event, os.urandom(16).hex(), noise="system", times=times
                    )
        self._list(kind, run, round, size)

    @contextmanager
    def errors_counted(self, kind: str, *, run: int, round: str) -> Iterator[None]:
        """Count an error instead of an update as an answer: its occurrence may reveal something of the data.

        A message that is refused or cannot be read has not reached the data, and does not count.
        """
        try:
            yield
        except (Refused, PayloadError):
            raise
        except Exception:
            if kind in UPDATES:
                self._list(kind, run, round, 0)
            raise

    def _list(self, kind: str, run: int, round: str, size: int) -> None:
        line = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "run": str(run), "round": round[:_LONGEST], "kind": kind, "bytes": size,
        }  # fmt: skip
        log.info("answered %s", line)
        if self.folder is not None:
            append_line(self.folder / "answers.jsonl", json.dumps(seal(line)))

    def ledgers(self) -> dict[str, Ledger]:
        """The two accounts, by the rule that limits each.

        Raises:
            LedgerError: one cannot be read.
        """
        if self.folder is None:
            return {}
        policy, delta = self.policy, self.policy.delta
        return {
            "client_epsilon": Ledger(
                Budget(delta, policy.client_epsilon), self.folder / "privacy-clients.jsonl"
            ),
            "sample_epsilon": Ledger(Budget(delta, policy.sample_epsilon), self.samples_file),
        }

    def _accounts(self, strategy: Strategy) -> Iterator[tuple[str, Ledger, Any, int]]:
        """What one update costs each account: `(rule, account, event, times)`."""
        ledgers, local = self.ledgers(), strategy.local
        if not ledgers:
            return
        if (event := client_event(strategy)) is not None:
            yield "client_epsilon", ledgers["client_epsilon"], event, 1
        if local.sample_noise:
            yield "sample_epsilon", ledgers["sample_epsilon"], account.event(local), local.steps(1)


Guarding: TypeAlias = Callable[[Mapping[str, Any]], Guard]
"""`node configuration -> guard`."""


def node_guard(node_config: Mapping[str, Any]) -> Guard:
    """The guard of a device, from its own configuration.

    `enrolment` is a folder, which may contain `policy.toml`; `policy` is a policy
    file anywhere else; `data` is the device's own data, and `data-KEY` are
    options of its loader.

    Raises:
        PolicyError: the policy cannot be read, others can write to it or to the
            folder, or the configuration has a key that now belongs in the policy.
    """
    for key, rule in _MOVED.items():
        if key in node_config:
            raise PolicyError(
                f"the node configuration has {key!r}, which is now a rule of the device's policy: write"
                f" {rule} = ... in {policy_file.NAME} (see: hedgerow policy show)"
            )
    enrolment, named = node_config.get("enrolment"), node_config.get("policy")
    file = Path(str(named)) if named else Path(str(enrolment or "")) / policy_file.NAME
    folder = Path(str(enrolment)) if enrolment else (file.parent if named else None)
    if folder is not None and folder.exists() and (why := who_else_can_write(folder)):
        raise PolicyError(why)
    if named or (folder is not None and os.path.lexists(file)):  # a broken link is a lost policy
        policy = policy_file.load_policy(file)
    else:
        policy = Policy.unenrolled() if folder is None else Policy()
    options = {str(k).removeprefix("data-"): v for k, v in node_config.items() if str(k).startswith("data-")}
    return Guard(policy, folder, str(node_config.get("data", "")), tuple(sorted(options.items())))
