"""A Flower `ClientApp` from a task, a client's data and a strategy."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from inspect import signature
from pathlib import Path
from typing import Any, Protocol, final

import numpy as np
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from hedgerow.client import account
from hedgerow.client.secure import STAGES, Enrol, SecureClient, node_enrolment
from hedgerow.client.state import ClientState, ContextState, FolderState
from hedgerow.client.task import Task
from hedgerow.client.trainer import Chooses, Trainer, TrainsMany
from hedgerow.records import Reply, TrainRequest, pack_identity, pack_reply, pack_vector, unpack_train
from hedgerow.secure.errors import NotMasked
from hedgerow.spans import span, spanned
from hedgerow.strategies import control
from hedgerow.strategies.masking import RingVector, Shape, open_payload, to_ring
from hedgerow.strategies.strategy import Strategy
from hedgerow.strategies.transform import encode
from hedgerow.types import Arrays, Fit, Payload, PayloadError, RoundContext, Samples, Vector

_SEVERAL = 32
"""Clients that a trainer is given at once, where it does not say how many it wants."""


class ClientData(Protocol):
    """The data of a federation, by client; a `Federation` is one."""

    @property
    def names(self) -> Sequence[str]:
        """Stable names of all clients."""

    def samples(self, name: str) -> Samples:
        """The training samples of one client."""


def client_app(
    task: Task | Trainer,
    data: ClientData | Callable[[], ClientData],
    strategy: Strategy,
    *,
    state_folder: Path | None = None,
    enrolment: Enrol = node_enrolment,
    unmasked: bool = False,
    seeded_noise: bool = False,
) -> ClientApp:
    """Make the app that runs where the data live.

    Which client a node is, its node configuration says: `client-name` (a
    name), or `partition-id` (a position in `data.names`).

    Args:
        task: what is learned; or a `Trainer` that learns it.
        data: the clients' data, or a function that loads it at first use.
        strategy: the same as the server's.
        state_folder: where clients keep what they carry from round to round
            (residuals), which secure rounds they have answered, and what they
            have told of their samples. `None` keeps it in Flower's context: in
            memory, and lost when the node ends; with `sample_noise` the node
            configuration then names a folder, `account`.
        enrolment: gives a client its identity where the pipeline masks; by
            default, the folder `enrolment` of the node configuration.
        unmasked: let a pipeline with a mask be summed without it. Only for a
            simulation, where all clients are in one hand.
        seeded_noise: noise that a client adds follows from the run's seed, so
            that a simulation can be repeated. Whoever knows the seed can take
            it off.

    A client that cannot train raises; Flower turns this into an error reply,
    and the server drops the client by name and goes on.
    """
    return FederatedClient(
        task, data, strategy, state_folder, enrolment, unmasked=unmasked, seeded_noise=seeded_noise
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
        *,
        unmasked: bool = False,
        seeded_noise: bool = False,
    ) -> None:
        super().__init__()
        self._seeded_noise = seeded_noise
        self._task, self._given, self._strategy, self._state_folder = task, data, strategy, state_folder
        self._unmasked = unmasked
        self.query()(self._identify)
        self.train()(self._train)
        if strategy.pipeline.only_sum:
            secure = SecureClient(
                strategy.pipeline, lambda: self._trainer.layout, self._named, self._fit_in_ring,
                enrolment, state_folder, strategy.sampling.groups or 1,
            )  # fmt: skip
            for stage in STAGES:
                self.train(stage)(getattr(secure, stage))

    @cached_property
    def _trainer(self) -> Trainer:
        return _trainer(self._task)

    @cached_property
    def _data(self) -> ClientData:
        return self._given() if callable(self._given) else self._given

    @property
    def at_once(self) -> int:
        """How many clients `train_many` is best given; 1 where one after another is better."""
        if not self._trains_many:
            return 1
        if not isinstance(self._trainer, Chooses):
            return _SEVERAL
        return 1 if self._trainer.choice is None else self._trainer.choice.at_once

    @property
    def even(self) -> bool:
        """Whether a client's result depends on no other, and all take about as long."""
        return isinstance(self._trainer, Chooses) and getattr(self._trainer.choice, "even", False)

    @cached_property
    def _trains_many(self) -> bool:
        # With noise a client checks its account first, and alone.
        return isinstance(self._trainer, TrainsMany) and not self._strategy.local.sample_noise

    def settle(self, message: Message, contexts: Callable[[], Iterable[Context]]) -> bool:
        """Choose how to train, if that is to be chosen: once, before other processes do it differently.

        Args:
            message: to any client.
            contexts: of some clients.

        Returns:
            Whether it was chosen now.
        """
        trainer = self._trainer
        if not isinstance(trainer, Chooses) or trainer.choice is not None:
            return False
        request = unpack_train(message.content, trainer.layout)
        clients = []
        for context in contexts():
            # What cannot be loaded now fails by name when that client trains.
            with suppress(Exception):
                clients.append(self._client(context))
        with span("choose trainer"):
            trainer.choose(
                request.model, clients, self._strategy.local, seed=request.seed, round=request.round
            )
        return trainer.choice is not None

    def train_many(
        self, messages: Sequence[Message], contexts: Sequence[Context]
    ) -> Iterator[tuple[int, Message | Reply | Exception]]:
        """Train several clients at once, for a simulation.

        Args:
            messages: to different clients, all with the content of the first.
            contexts: of these clients.

        Yields:
            `(position, reply)` for each message, in any order: what the reply
            says, not packed into a message, where there is no mask; an
            exception where that client failed.
        """
        trainer = self._trainer
        assert isinstance(trainer, TrainsMany)
        with span("records"):
            request = unpack_train(messages[0].content, trainer.layout)
        positions: dict[str, int] = {}
        corrections: dict[str, Vector] = {}
        clients = []
        for position, context in enumerate(contexts):
            try:
                name, samples = self._client(context)
                if name in positions:
                    raise ValueError(f"two nodes say that they are client {name!r}; each must be its own")
                corrections.update(dict.fromkeys([name], *self._correction(request, context, name).values()))
            except (
                Exception
            ) as error:  # whatever the data's loader raises: that client's, and not the others'
                yield position, error
                continue
            positions[name] = position
            clients.append((name, samples))
        extra = {"corrections": corrections} if self._strategy.control_variates else {}
        fits = trainer.fit_many(
            request.model, clients, self._strategy.local, seed=request.seed, round=request.round, **extra
        )
        for name, fit in spanned("train", fits):
            position = positions[name]
            if isinstance(fit, Exception):
                yield position, fit
                continue
            try:
                context = contexts[position]
                if self._strategy.pipeline.only_sum:
                    yield position, self._in_the_clear(messages[position], context, request, name, fit)
                else:
                    yield position, self._reply(context, request, name, fit)
            except Exception as error:  # whatever a plug-in's encode raises
                yield position, error

    def _identify(self, message: Message, context: Context) -> Message:
        name = client_name(context, self._data.names)
        # How many samples there are is private where each of them is.
        examples = 1 if self._strategy.local.sample_noise else len(self._data.samples(name))
        return Message(pack_identity(name, examples), reply_to=message)

    def _named(self, context: Context) -> str:
        # The data need not be loaded to know a name that is given.
        given = context.node_config.get("client-name")
        return str(given) if given else client_name(context, self._data.names)

    def _fit_in_ring(self, context: Context, name: str, request: TrainRequest, shape: Shape) -> RingVector:
        """Train one client, and put its encoded update into the ring of its cohort."""
        fit = self._fit(context, request, name, self._client(context)[1])
        return self._in_ring(context, request, name, fit, shape)

    def _train(self, message: Message, context: Context) -> Message:
        with span("records"):
            request = unpack_train(message.content, self._trainer.layout)
        self._refuse_in_the_clear()
        name, samples = self._client(context)
        extra = self._correction(request, context, name)
        fit = self._fit(context, request, name, samples, **extra)
        if self._strategy.pipeline.only_sum:
            return self._in_the_clear(message, context, request, name, fit)
        reply = self._reply(context, request, name, fit)
        with span("records"):
            return Message(pack_reply(reply, round=request.round, client=name), reply_to=message)

    def _fit(self, context: Context, request: TrainRequest, name: str, samples: Samples, **extra: Any) -> Fit:
        local = self._strategy.local
        own = self._account(context, request.round, name) if local.sample_noise else None
        if own is not None:
            own.check()
            if "seeded_noise" not in signature(self._trainer.fit).parameters:
                raise ValueError(
                    f"{type(self._trainer).__name__}.fit takes no seeded_noise, and so does not add"
                    " sample_noise; train with TorchTrainer or CohortTrainer"
                )
            extra["seeded_noise"] = self._seeded_noise
        with span("train"):
            fit = self._trainer.fit(
                request.model, samples, local,
                seed=request.seed, round=request.round, client=name, **extra,
            )  # fmt: skip
        if own is not None:
            own.record(request.round, fit)
        return fit

    def _account(self, context: Context, round: int, name: str) -> account.Account:
        place, seeded = self._account_folder(context), self._seeded_noise
        kept = self._kept(context, name).load(round) if place is None else FolderState(place, name)
        return account.opened(name, self._strategy.local, kept, seeded=seeded)

    def _account_folder(self, context: Context) -> Path | None:
        return account.folder(self._state_folder, context.node_config, seeded=self._seeded_noise)

    def _refuse_in_the_clear(self) -> None:
        if self._strategy.pipeline.only_sum and not self._unmasked:
            raise NotMasked("the server asks for an update without a mask; this client's pipeline masks")

    def _client(self, context: Context) -> tuple[str, Samples]:
        name = client_name(context, self._data.names)
        with span("data"):
            samples = self._data.samples(name)
        if len(samples) == 0:
            raise ValueError(f"client {name!r} has no samples to train on")
        return name, samples

    def _kept(self, context: Context, name: str) -> ClientState:
        folder = self._state_folder
        return ContextState(context) if folder is None else FolderState(folder, name)

    def _correction(self, request: TrainRequest, context: Context, name: str) -> dict[str, Vector]:
        """The trainer's argument `correction`, where the strategy has control variates."""
        wanted = self._strategy.control_variates
        if bool(request.control.size) != wanted:
            has, wants = ("no", "one") if wanted else ("a", "none")
            raise PayloadError(
                f"the server sent {has} control variate, and this client's strategy has {wants};"
                " both must be started from the same configuration"
            )
        if not wanted:
            return {}
        if "correction" not in signature(self._trainer.fit).parameters:
            raise ValueError(
                f"{type(self._trainer).__name__}.fit takes no correction, which control variates need;"
                " train with TorchTrainer or CohortTrainer, or take another strategy"
            )
        kept = self._kept(context, name).load(request.round)
        return {"correction": control.correction(request.control, kept)}

    def _in_the_clear(
        self, message: Message, context: Context, request: TrainRequest, name: str, fit: Fit
    ) -> Message:
        """The reply of a client whose pipeline masks, without its mask."""
        self._refuse_in_the_clear()
        shape = Shape.of(self._strategy.pipeline, self._trainer.layout, request.clients)
        vector = self._in_ring(context, request, name, fit, shape)
        return Message(pack_vector(open_payload(vector, shape), b""), reply_to=message)

    def _reply(self, context: Context, request: TrainRequest, name: str, fit: Fit) -> Reply:
        payload, change = self._encode(context, request, name, fit)
        return Reply(payload, fit.buffers, fit.num_examples, fit.metrics, change)

    def _in_ring(
        self, context: Context, request: TrainRequest, name: str, fit: Fit, shape: Shape
    ) -> RingVector:
        payload, _ = self._encode(context, request, name, fit)
        return to_ring(payload, fit, shape, self._strategy.pipeline)

    def _encode(self, context: Context, request: TrainRequest, name: str, fit: Fit) -> tuple[Payload, Vector]:
        """What is sent of a fit, and the change of the control variate; the client's state is kept."""
        strategy = self._strategy
        where = RoundContext(
            request.seed, request.round, name, self._trainer.layout, fit.num_examples, self._seeded_noise
        )
        kept = self._kept(context, name)
        change = np.empty(0, np.float32)
        with span("encode"):
            counted = strategy.local.sample_noise > 0 and self._account_folder(context) is None
            stateful = strategy.stateful or counted
            before = kept.load(request.round) if stateful else {}
            others = (*control.STATE, account.STATE)
            residuals = {key: value for key, value in before.items() if key not in others}
            payload, after = encode(strategy.pipeline, fit.delta, residuals, where)
            if strategy.control_variates:
                change, own = self._advance(request, before, name, fit)
                after = {**after, **own}
            if counted:
                after = {**after, **account.remember(before, request.round)}
            if stateful:
                kept.save(request.round, after)
        return payload, change

    def _advance(self, request: TrainRequest, before: Arrays, name: str, fit: Fit) -> tuple[Vector, Arrays]:
        local = self._strategy.local
        return control.advance(
            request.control, before, fit.delta,
            steps=local.steps(fit.num_examples), learning_rate=local.learning_rate_at(request.round),
            round=request.round, uncounted_since=request.uncounted.get(name, 0),
        )  # fmt: skip


def client_name(context: Context, names: Sequence[str]) -> str:
    """The stable name of the client that a node is.

    Raises:
        ValueError: the node configuration names no client, or one that is not there.
    """
    config = context.node_config
    if "client-name" in config:
        return str(config["client-name"])
    if "partition-id" not in config:
        raise ValueError(
            f"the node configuration is {dict(config)}; it must have client-name (a name) or"
            ' partition-id (a number): start the SuperNode with --node-config "partition-id=0"'
        )
    position = int(config["partition-id"])
    if not 0 <= position < len(names):
        raise ValueError(f"partition-id is {position}; it must be from 0 to {len(names) - 1}")
    return names[position]


def _trainer(task: Task | Trainer) -> Trainer:
    if isinstance(task, Task):
        from hedgerow.client.torch_trainer import TorchTrainer

        return TorchTrainer(task)
    return task
