"""A client's side of a secure aggregation on Flower messages: `train.keys` to `train.unmask`.

Between two stages the client's secrets lie in Flower's context, in memory, and
closed: to open them takes the device's identity, and a salt that lies where the
client remembers which rounds it has answered. They go when they are not needed
any more, when the server says that the round has failed, and when the client
joins another round, of whatever run: so a client is in one round at a time.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, TypeVar, final

from flwr.app import ConfigRecord, Context, Message, RecordDict

from hedgerow.client.policy import STAGES
from hedgerow.client.secure.answered_rounds import SecureMemory
from hedgerow.client.secure.enrolment import Enrolment, load_enrolment
from hedgerow.records import TrainRequest, pack_stage, pack_vector, unpack_stage, unpack_train
from hedgerow.secure import client as protocol
from hedgerow.secure.codec import decode, encode
from hedgerow.secure.errors import AlreadyAnswered, OutOfOrder, StaleRound, UnknownIdentity, WrongModel
from hedgerow.secure.messages import Adverts, Delivery, Setup, Survivors, Unmask
from hedgerow.secure.primitives import Secret
from hedgerow.secure.register import Party, Register
from hedgerow.secure.states import Confirmed, Contributed, Joined, Shared, State, close, reopen
from hedgerow.strategies.pipeline.transform import Transform
from hedgerow.strategies.transforms.mask import RingVector, Shape, model_hash, open_payload
from hedgerow.types import Layout

log = logging.getLogger("hedgerow")

Enrol: TypeAlias = Callable[[Context, str], Enrolment]
"""`(context, client name) -> enrolment`."""

Fit: TypeAlias = Callable[[Context, str, TrainRequest, Shape], RingVector]
"""Trains, and puts the encoded update into the ring."""

Completed: TypeAlias = Callable[[TrainRequest, Context], TrainRequest]
"""`(request, context) -> request` with the model's constants."""

_KEY = "hedgerow.secure.round"
T = TypeVar("T", Joined, Shared, Contributed, Confirmed)


def node_enrolment(context: Context, name: str) -> Enrolment:
    """The enrolment in the folder that the node configuration names, as `enrolment="FOLDER"`.

    Raises:
        UnknownIdentity: it names none.
    """
    folder = context.node_config.get("enrolment")
    if not folder:
        raise UnknownIdentity(
            f"client {name!r} has no identity; start the SuperNode with --node-config"
            " 'enrolment=\"FOLDER\"', a folder with identity.key and register.toml"
        )
    first = bool(context.node_config.get("trust-on-first-use", False))
    return load_enrolment(Path(str(folder)), trust_on_first_use=first)


@final
class SecureClient:
    """Answers the five stages of a round, and a sixth that says it has failed: a method for each of `STAGES`.

    Args:
        pipeline: with a mask.
        layout: gives the model's layout, when it is needed.
        name: gives the client's stable name.
        fit: trains.
        enrolment: gives the client's identity and register, and where it
            remembers which rounds it has answered.
        apart: rounds from one of a client's to the next, at least.
        completed: gives the model of a request the constants that the request only names.
    """

    def __init__(
        self,
        pipeline: Transform,
        layout: Callable[[], Layout],
        name: Callable[[Context], str],
        fit: Fit,
        enrolment: Enrol,
        apart: int = 1,
        completed: Completed = lambda request, context: request,
    ) -> None:
        self._apart, self._completed = apart, completed
        self._pipeline, self._layout, self._name = pipeline, layout, name
        self._fit, self._enrolment = fit, enrolment

    def keys(self, message: Message, context: Context) -> Message:
        """Stage `keys`."""
        here = self._device(context)
        setup = decode(Setup, unpack_stage(message.content))
        advert, state = protocol.join(here.party, setup)
        here.memory.join(setup.run, setup.round, self._apart)
        here.keep(state, setup)
        return _answer(message, advert)

    def shares(self, message: Message, context: Context) -> Message:
        """Stage `shares`."""
        here = self._device(context)
        before = here.state(Joined)
        answer, state = protocol.share(here.party, before, decode(Adverts, unpack_stage(message.content)))
        here.claim(before.setup, "shares")
        here.keep(state, before.setup)
        return _answer(message, answer)

    def masked(self, message: Message, context: Context) -> Message:
        """Stage `masked`: here the client trains."""
        here, layout = self._device(context), self._layout()
        before, party = here.state(Shared), here.party
        delivery = decode(Delivery, unpack_stage(message.content))
        protocol.check_delivery(party, before, delivery)
        request = self._completed(unpack_train(message.content, layout), context)
        if request.round != before.setup.round:
            raise StaleRound(f"the model is of round {request.round}, the keys are of {before.setup.round}")
        if model_hash(request.model, layout, request.seed, request.round) != before.setup.model:
            raise WrongModel("the model, or the seed, is not the one that the cohort was told of")
        shape = party.shape(len(before.setup.members))
        here.claim(before.setup, "masked")
        vector = self._fit(context, party.name, request, shape)
        answer, vector, state = protocol.contribute(party, before, delivery, vector)
        here.keep(state, before.setup)
        for sender in answer.complaints:
            log.warning("client %s: the shares of client %s are not what it committed to", party.name, sender)
        return Message(pack_vector(open_payload(vector, shape), encode(answer)), reply_to=message)

    def survivors(self, message: Message, context: Context) -> Message:
        """Stage `survivors`."""
        here = self._device(context)
        before = here.state(Contributed)
        answer, state = protocol.confirm(here.party, before, decode(Survivors, unpack_stage(message.content)))
        here.claim(before.setup, "survivors")
        here.keep(state, before.setup)
        return _answer(message, answer)

    def unmask(self, message: Message, context: Context) -> Message:
        """Stage `unmask`, after which the client has no secrets of this round."""
        here = self._device(context)
        before = here.state(Confirmed)
        answer = protocol.reveal(here.party, before, decode(Unmask, unpack_stage(message.content)))
        here.claim(before.contributed.setup, "unmask")
        here.memory.forget(before.contributed.setup.run)
        context.state[_KEY] = ConfigRecord({"state": b"", "done": True})
        return _answer(message, answer)

    def failed(self, message: Message, context: Context) -> Message:
        """The round has failed: forget its secrets."""
        record = context.state.pop(_KEY, None)
        if isinstance(record, ConfigRecord) and not record["done"]:
            self._device(context).memory.forget(str(record["run"]))
        why = unpack_stage(message.content).decode(errors="replace")[:500]
        log.warning("a round of secure aggregation failed, and the model stays: %s", why)
        return Message(RecordDict(), reply_to=message)

    def _device(self, context: Context) -> "_Device":
        name = self._name(context)
        enrolled = self._enrolment(context, name)
        memory = SecureMemory(context, enrolled.folder, name)
        known, first = enrolled.pinned, enrolled.trust_on_first_use
        if first:
            known = {**memory.learned(), **known}
        secure = self._pipeline.secure
        assert secure is not None
        register = Register(known, trust_on_first_use=first, learned=memory.learn)
        return _Device(context, Party(name, Secret(enrolled.secret), register, secure, self._shape), memory)

    def _shape(self, clients: int) -> Shape:
        return Shape.of(self._pipeline, self._layout(), clients)


def _answer(message: Message, answer: object) -> Message:
    return Message(pack_stage(encode(answer)), reply_to=message)


@final
@dataclass(frozen=True)
class _Device:
    """One client while it answers a message, and what it keeps from one to the next."""

    context: Context
    party: Party
    memory: SecureMemory

    def claim(self, setup: Setup, stage: str) -> None:
        self.memory.claim(setup.run, setup.round, STAGES.index(stage))

    def keep(self, state: State, setup: Setup) -> None:
        closed = close(state, self.party.secret, self.memory.salt(setup.run, setup.round))
        self.context.state[_KEY] = ConfigRecord(
            {"state": closed, "done": False, "run": setup.run, "round": setup.round}
        )

    def state(self, kind: type[T]) -> T:
        record = self.context.state.get(_KEY)
        if not isinstance(record, ConfigRecord):
            raise OutOfOrder("no round of secure aggregation is under way here")
        if record["done"]:
            raise AlreadyAnswered("this client has revealed its shares, and has nothing left of that round")
        data, run, round = record["state"], record["run"], record["round"]
        assert isinstance(data, bytes)
        assert isinstance(run, str)
        assert isinstance(round, int)
        return reopen(data, kind, self.party.secret, self.memory.salt(run, round))
