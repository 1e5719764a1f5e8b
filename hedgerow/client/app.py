"""A Flower `ClientApp` from a task, a client's data and a strategy."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from types import NoneType
from typing import final

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from hedgerow import checks, generators
from hedgerow.client.answer import identify, in_the_clear, read_request, respond
from hedgerow.client.answer_many import answer_many
from hedgerow.client.capabilities import chooses, require, trains_many
from hedgerow.client.client_round import ClientConfig, ClientRound, LocalClient, Sent, honest
from hedgerow.client.data import (
    AlikeEachTime,
    ClientData,
    check_data,
    client_name,
    client_samples,
    held_out_samples,
)
from hedgerow.client.discretion import discreet
from hedgerow.client.flower import Enrol, account_file, node_enrolment, state_store
from hedgerow.client.guard import Guarding, node_guard
from hedgerow.client.kinds import STAGES
from hedgerow.client.pace import CLOCK, StepTimes
from hedgerow.client.task import Task
from hedgerow.client.trainer import Chooses, Trainer, check_learner
from hedgerow.client.trainers import given_trainer, trainer_of
from hedgerow.records import from_flower, measure, to_flower
from hedgerow.rng import integer_seed
from hedgerow.spans import span
from hedgerow.strategies.strategy import Strategy
from hedgerow.types import Deployment, Fit, Model
from hedgerow.wire.replies import Reply

log = logging.getLogger("hedgerow")

_SEVERAL = 32
"""Clients that a trainer is given at once if it does not say how many it wants."""


@checks.arguments
def client_app(
    task: Task | Trainer,
    data: ClientData | Callable[[], ClientData],
    strategy: Strategy,
    *,
    state_folder: Path | str | None = None,
    enrolment: Enrol = node_enrolment,
    deployment: Deployment = Deployment.REAL,
    guard: Guarding | None = node_guard,
    sent: Sent = honest,
    initial: Model | None = None,
    step_times: StepTimes = CLOCK,
) -> ClientApp:
    """Make the app that runs where the data is.

    The node configuration says which client a node is: `client-name` (a
    name), or `partition-id` (a position in `data.names`).

    Args:
        task: what is learned; or a `Trainer` that learns it.
        data: the clients' data, or a function that loads it at first use.
        strategy: the same as the server's.
        state_folder: where clients keep what they carry from round to round
            (residuals, personal layers), and the account of their samples.
            `None` keeps it with the device's policy or enrolment; without either, in
            Flower's context, that is in memory, where it is lost when the node ends.
        enrolment: returns a client's identity, for pipelines that mask; by
            default read from the folder `enrolment` of the node configuration,
            where the client also records which secure rounds it has answered.
        deployment: whether clients are real or simulated. A simulation may sum
            a masking pipeline without its masks, and derives clients' noise
            from the run's seed, so that whoever knows the seed can remove it.
        guard: returns a device's policy, which each message must satisfy; by
            default, the one that the node configuration names (`policy`,
            `enrolment`). `None` for a simulation, which has no policy.
        sent: `(request, name, fit) -> fit`, what a client sends instead of what it
            has learned; used to simulate compromised clients.
        initial: the model before the first round, from which personal layers start; by
            default the one that the trainer makes from the run's seed.
        step_times: tells how long a client's step takes, for a time budget; by default, the machine's
            clock. Simulated clients need described devices (`hedgerow.simulation.devices`).

    A client that cannot train raises; Flower turns this into an error reply,
    and the server drops the client by name and continues. If the strategy
    masks or is private, or the device has a policy, the reply holds only a code
    and a fixed sentence, and the error goes to the device's own log.

    Raises:
        ValueError: an argument has the wrong type, or the trainer does not support what the
            strategy needs (`Trainer.supports`).
    """
    check_learner(task)
    check_data(data, "data", or_function=True)
    checks.kind(Strategy, ", such as fedavg()", strategy=strategy)
    checks.one_of([each.value for each in Deployment], deployment=deployment)
    checks.kind(Callable, enrolment=enrolment)
    checks.kind((Callable, NoneType), guard=guard)
    checks.kind(Callable, sent=sent)
    checks.kind((Model, NoneType), ", such as trainer.initial(seed)", initial=initial)
    folder = None if state_folder is None else checks.path(state_folder=state_folder)
    checks.has(("ahead", "timed"), "the clock, or devices such as classes(...)", step_times=step_times)
    return FederatedClient(
        task, data, strategy, folder, enrolment, deployment, guard, sent, initial, step_times
    )


@final
class FederatedClient(ClientApp):
    """What `client_app` makes: a Flower `ClientApp`, which can also train several clients at once."""

    def __init__(
        self,
        task: Task | Trainer,
        data: ClientData | Callable[[], ClientData],
        strategy: Strategy,
        state_folder: Path | None,
        enrolment: Enrol = node_enrolment,
        deployment: Deployment = Deployment.REAL,
        guard: Guarding | None = node_guard,
        sent: Sent = honest,
        initial: Model | None = None,
        step_times: StepTimes = CLOCK,
    ) -> None:
        super().__init__()
        # A task's trainer is made at the first message, because that imports torch.
        if (trainer := given_trainer(task)) is not None:
            require(trainer, strategy)
        self._deployment, self._guard, self._sent = Deployment(deployment), guard, sent
        self._task, self._given, self._strategy, self._state_folder = task, data, strategy, state_folder
        self._enrolment, self._initial, self._step_times = enrolment, initial, step_times
        self.query()(self._identify)
        self.train()(self._respond)
        self.evaluate()(self._respond)
        if strategy.pipeline.sum_only:
            for stage in STAGES:
                self.train(stage)(self._respond)
                self.evaluate(stage)(self._respond)

    def __call__(self, message: Message, context: Context) -> Message:
        """Answer one message, if the device's policy allows it."""
        if self._guard is None:
            return super().__call__(message, context)
        strategy, asked = self._strategy, message.metadata
        with discreet():
            guard = self._guard(context.node_config)
        with discreet(strategy.protected or guard.discreet), guard.alone(asked.message_type):
            guard.available(asked.message_type)
            guard.check(asked.message_type, strategy)
            with guard.errors_counted(asked.message_type, run=asked.run_id, round=asked.group_id):
                reply = super().__call__(message, context)
            guard.record(
                asked.message_type, strategy,
                run=asked.run_id, round=asked.group_id, size=measure(reply.content),
            )  # fmt: skip
            return reply

    @cached_property
    def _trainer(self) -> Trainer:
        return trainer_of(self._task)

    @cached_property
    def _config(self) -> ClientConfig:
        seeded, unmasked = self._deployment.seeded, not self._deployment.masks
        return ClientConfig(
            self._strategy, self._trainer, seeded, unmasked, self._sent, self._initial, self._step_times
        )

    @cached_property
    def _data(self) -> ClientData:
        if not self._deployment.seeded:
            return self._given() if callable(self._given) else self._given
        generators.seed(integer_seed(0, "data"))
        return AlikeEachTime(self._given() if callable(self._given) else self._given)

    @property
    def seeds(self) -> bool:
        """Whether each client seeds the global generators before its data is loaded and before it trains."""
        return self._deployment.seeded

    @property
    def batch_clients(self) -> int:
        """How many clients to give `train_many` at once; 1 if training them one after another is faster."""
        if not self._trains_many:
            return 1
        if self._chooser is None:
            return _SEVERAL
        return 1 if self._chooser.choice is None else self._chooser.choice.batch_clients

    @property
    def splittable(self) -> bool:
        """Whether each client's result is independent of the others, and all take about as long."""
        choice = None if self._chooser is None else self._chooser.choice
        return choice is not None and choice.splittable

    @cached_property
    def _chooser(self) -> Chooses | None:
        """The trainer, if it chooses how it trains; cached, because every round asks for it."""
        return self._trainer if chooses(self._trainer) else None

    @cached_property
    def _trains_many(self) -> bool:
        # With noise, each client first checks its own account; with personal layers, each has its own model;
        # with a time budget and a real clock, each is timed.
        local, personal = self._strategy.local, self._strategy.personal
        timed = local.time_budget > 0 and not self._step_times.simulated
        many = trains_many(self._trainer)
        if many and personal:
            log.warning("clients are trained one after another: each has personal layers, %s", personal)
        return many and not personal and not local.sample_noise and not timed

    def autotune(self, message: Message, contexts: Callable[[], Iterable[Context]]) -> bool:
        """Choose how to train, if that is still open: once, before other processes choose differently.

        Args:
            message: to any client.
            contexts: of some of the clients.

        Returns:
            Whether a choice was made now. The global generators are left unchanged.
        """
        if (trainer := self._chooser) is None or trainer.choice is not None or self._strategy.personal:
            return False
        request = read_request(self._config, from_flower(message.content))
        with generators.undisturbed():
            clients = []
            for context in contexts():
                with suppress(Exception):  # one whose data cannot be loaded fails by name when it trains
                    client = self._client(context)
                    clients.append((client.name, client_samples(client.name, client.samples)))
            with span("choose trainer"):
                trainer.choose(
                    request.model, clients, self._strategy.local, seed=request.seed, round=request.round
                )
        return trainer.choice is not None

    def makes(self, named: str, seed: int) -> bool:
        """Whether the clients make the parameters with this hash from a run's seed."""
        return self._config.layers.start(seed, named) is not None

    def train_many(
        self, messages: Sequence[Message], contexts: Sequence[Context]
    ) -> Iterator[tuple[int, Callable[[], Message | Reply]]]:
        """Train several clients at once, for a simulation.

        Args:
            messages: to different clients, all with the content of the first.
            contexts: of these clients.

        Yields:
            For each message, in any order, its position and a function that returns the
            reply, or raises the error with which that client failed. Without masks the
            reply is returned as it is, not packed into a message.
        """
        masked, hides = self._strategy.pipeline.sum_only, self._config.hides_failures

        def answer(position: int, client_round: ClientRound, train: Callable[[], Fit]) -> Message | Reply:
            fit = client_round.hidden(train) if hides else train()
            if not masked:
                return client_round.reply(fit)
            return Message(to_flower(in_the_clear(client_round, fit)), reply_to=messages[position])

        with span("records"):
            request = read_request(self._config, from_flower(messages[0].content))
        if self.seeds:  # for what the user's own parts draw after data that draw nothing
            generators.seed(integer_seed(request.seed, "train", round=request.round))
        clients = [partial(self._client, context) for context in contexts]
        yield from answer_many(self._config, clients, request, answer)

    def _identify(self, message: Message, context: Context) -> Message:
        return Message(to_flower(identify(self._client(context))), reply_to=message)

    def _respond(self, message: Message, context: Context) -> Message:
        with span("records"):
            content = from_flower(message.content)
        answer = respond(self._config, self._client(context), message.metadata.message_type, content)
        with span("records"):
            return Message(to_flower(answer), reply_to=message)

    def _client(self, context: Context) -> LocalClient:
        """The client behind a node."""
        # If the name is given, the data need not be loaded to find it.
        given = context.node_config.get("client-name")
        name = str(given) if given else client_name(context.node_config, self._data.names)
        guard = None if self._guard is None else self._guard(context.node_config)
        folder, noisy = self._state_folder, self._strategy.local.sample_noise > 0
        return LocalClient(
            name, lambda: self._data.samples(name),
            state_store(context, folder, name, guard.folder if guard else None),
            account_file(guard, folder, name) if noisy else None,
            partial(self._enrolment, context, name) if self._strategy.pipeline.sum_only else None,
            lambda: held_out_samples(self._data, name),
        )  # fmt: skip
