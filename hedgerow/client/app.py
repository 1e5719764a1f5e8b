"""A Flower `ClientApp` from a task, a client's data and a strategy."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import final

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from hedgerow import generators, record_sizes
from hedgerow.client.client_round import Setting, Turn
from hedgerow.client.constants import completed, constants_of
from hedgerow.client.data import AlikeEachTime, ClientData, client_name, client_samples
from hedgerow.client.discretion import discreet
from hedgerow.client.guard import Guarding, node_guard
from hedgerow.client.policy import STAGES
from hedgerow.client.secure.stages import Enrol, SecureClient, node_enrolment
from hedgerow.client.task import Task
from hedgerow.client.trainer import Chooses, Trainer, TrainsMany, trainer_of
from hedgerow.records import Reply, TrainRequest, pack_identity, pack_reply, pack_vector, unpack_train
from hedgerow.rng import integer_seed
from hedgerow.secure.errors import NotMasked
from hedgerow.spans import span, spanned
from hedgerow.strategies.strategy import Strategy
from hedgerow.strategies.transforms.mask import RingVector, Shape, open_payload
from hedgerow.types import Fit, Layout, Vector

log = logging.getLogger("hedgerow")

_SEVERAL = 32
"""Clients that a trainer is given at once, where it does not say how many it wants."""


def client_app(
    task: Task | Trainer,
    data: ClientData | Callable[[], ClientData],
    strategy: Strategy,
    *,
    state_folder: Path | None = None,
    enrolment: Enrol = node_enrolment,
    unmasked: bool = False,
    seeded_noise: bool = False,
    guard: Guarding | None = node_guard,
) -> ClientApp:
    """Make the app that runs where the data live.

    Which client a node is, its node configuration says: `client-name` (a
    name), or `partition-id` (a position in `data.names`).

    Args:
        task: what is learned; or a `Trainer` that learns it.
        data: the clients' data, or a function that loads it at first use.
        strategy: the same as the server's.
        state_folder: where clients keep what they carry from round to round
            (residuals), and what they have told of their samples. `None` keeps
            it in Flower's context: in memory, and lost when the node ends; what
            must not be lost lies with the device's policy or enrolment then.
        enrolment: gives a client its identity where the pipeline masks; by
            default, the folder `enrolment` of the node configuration, in
            which it also remembers which secure rounds it has answered.
        unmasked: let a pipeline with a mask be summed without it. Only for a
            simulation, where all clients are in one hand.
        seeded_noise: noise that a client adds follows from the run's seed, so
            that a simulation can be repeated. Whoever knows the seed can take
            it off.
        guard: gives a device's policy, which each message must pass; by
            default, the one that the node configuration names (`policy`,
            `enrolment`). `None` for a simulation, which has none.

    A client that cannot train raises; Flower turns this into an error reply,
    and the server drops the client by name and goes on. Where the strategy
    masks or is private, or the device has a policy, the reply holds a code and
    a neutral sentence, and the error goes to the device's own log.
    """
    return FederatedClient(
        task, data, strategy, state_folder, enrolment,
        unmasked=unmasked, seeded_noise=seeded_noise, guard=guard,
    )  # fmt: skip


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
        guard: Guarding | None = node_guard,
    ) -> None:
        super().__init__()
        self._seeded_noise, self._guard = seeded_noise, guard
        self._task, self._given, self._strategy, self._state_folder = task, data, strategy, state_folder
        self._unmasked = unmasked
        self.query()(self._identify)
        self.train()(self._train)
        if strategy.pipeline.only_sum:
            secure = SecureClient(
                strategy.pipeline, lambda: self._layout, self._named, self._fit_in_ring,
                enrolment, strategy.sampling.groups or 1, self._completed,
            )  # fmt: skip
            for stage in STAGES:
                self.train(stage)(getattr(secure, stage))

    def __call__(self, message: Message, context: Context) -> Message:
        """Answer one message, if the device's policy lets it."""
        if self._guard is None:
            return super().__call__(message, context)
        strategy, asked = self._strategy, message.metadata
        private = strategy.pipeline.only_sum or strategy.private or strategy.local.sample_noise > 0
        with discreet():
            guard = self._guard(context.node_config)
        with discreet(private or guard.discreet), guard.alone(asked.message_type):
            guard.check(asked.message_type, strategy)
            reply = super().__call__(message, context)
            guard.record(
                asked.message_type, strategy,
                run=asked.run_id, round=asked.group_id, size=record_sizes.measure(reply.content),
            )  # fmt: skip
            return reply

    @cached_property
    def _trainer(self) -> Trainer:
        return trainer_of(self._task)

    @cached_property
    def _setting(self) -> Setting:
        return Setting(self._strategy, self._trainer, self._state_folder, self._seeded_noise, self._guard)

    @property
    def _layout(self) -> Layout:
        return self._setting.layers.layout

    @cached_property
    def _data(self) -> ClientData:
        if not self._seeded_noise:
            return self._given() if callable(self._given) else self._given
        generators.seed(integer_seed(0, "data"))
        return AlikeEachTime(self._given() if callable(self._given) else self._given)

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
        # With noise a client checks its account first, and alone; with layers of its own, each has a model.
        local, personal = self._strategy.local, self._strategy.personal
        many = isinstance(self._trainer, TrainsMany)
        if many and personal:
            log.warning("clients are trained one after another: each has personal layers, %s", personal)
        return many and not personal and not local.sample_noise

    def settle(self, message: Message, contexts: Callable[[], Iterable[Context]]) -> bool:
        """Choose how to train, if that is to be chosen: once, before other processes do it differently.

        Args:
            message: to any client.
            contexts: of some clients.

        Returns:
            Whether it was chosen now.
        """
        trainer = self._trainer
        if not isinstance(trainer, Chooses) or trainer.choice is not None or self._strategy.personal:
            return False
        request = self._request(message, None)
        clients = []
        for context in contexts():
            # What cannot be loaded now fails by name when that client trains.
            with suppress(Exception):
                clients.append(client_samples(context, self._data))
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
            request = self._request(messages[0], contexts[0])
        turns: dict[str, tuple[int, Turn]] = {}
        corrections: dict[str, Vector] = {}
        clients = []
        for position, context in enumerate(contexts):
            try:
                name, samples = client_samples(context, self._data)
                if name in turns:
                    raise ValueError(f"two nodes say that they are client {name!r}; each must be its own")
                turn = self._turn(context, request, name)
                if correction := turn.correction():
                    corrections[name] = correction["correction"]
            except Exception as error:  # what the data's loader raises: that client's, and not the others'
                yield position, error
                continue
            turns[name] = position, turn
            clients.append((name, samples))
        extra = {"corrections": corrections} if corrections else {}
        fits = trainer.fit_many(
            request.model, clients, self._strategy.local, seed=request.seed, round=request.round, **extra
        )
        for name, fit in spanned("train", fits):
            position, turn = turns[name]
            if isinstance(fit, Exception):
                yield position, fit
                continue
            try:
                if self._strategy.pipeline.only_sum:
                    yield position, self._in_the_clear(messages[position], turn, fit)
                else:
                    yield position, turn.reply(fit)
            except Exception as error:  # whatever a plug-in's encode raises
                yield position, error

    def _identify(self, message: Message, context: Context) -> Message:
        name = client_name(context, self._data.names)
        self._data.samples(name)  # one that is not there is no client
        return Message(pack_identity(name), reply_to=message)

    def _named(self, context: Context) -> str:
        # The data need not be loaded to know a name that is given.
        given = context.node_config.get("client-name")
        return str(given) if given else client_name(context, self._data.names)

    def _fit_in_ring(self, context: Context, name: str, request: TrainRequest, shape: Shape) -> RingVector:
        """Train one client, and put its encoded update into the ring of its cohort."""
        turn = self._turn(context, request, name)
        return turn.in_ring(turn.fit(client_samples(context, self._data)[1], {}), shape)

    def _train(self, message: Message, context: Context) -> Message:
        with span("records"):
            request = self._request(message, context)
        self._refuse_in_the_clear()
        name, samples = client_samples(context, self._data)
        turn = self._turn(context, request, name)
        fit = turn.fit(samples, turn.correction())
        if self._strategy.pipeline.only_sum:
            return self._in_the_clear(message, turn, fit)
        reply = turn.reply(fit)
        with span("records"):
            return Message(pack_reply(reply, round=request.round, client=name), reply_to=message)

    def _request(self, message: Message, context: Context | None) -> TrainRequest:
        layout = self._layout
        sizes = {stream.name: len(stream.first(layout)) for stream in self._strategy.streams}
        return self._completed(unpack_train(message.content, layout, sizes), context)

    def _completed(self, request: TrainRequest, context: Context | None) -> TrainRequest:
        """The request with the model's constants; where it names them, the client has them or keeps them."""
        if context is None or not request.constants:
            return request
        kept = constants_of(context, self._named(context), self._state_folder, self._guard)
        return completed(request, self._layout, kept)

    def _turn(self, context: Context, request: TrainRequest, name: str) -> Turn:
        return Turn(self._setting, context, request, name)

    def _refuse_in_the_clear(self) -> None:
        if self._strategy.pipeline.only_sum and not self._unmasked:
            raise NotMasked("the server asks for an update without a mask; this client's pipeline masks")

    def _in_the_clear(self, message: Message, turn: Turn, fit: Fit) -> Message:
        """The reply of a client whose pipeline masks, without its mask."""
        self._refuse_in_the_clear()
        shape = Shape.of(self._strategy.pipeline, self._layout, turn.request.clients)
        return Message(pack_vector(open_payload(turn.in_ring(fit, shape), shape), b""), reply_to=message)
