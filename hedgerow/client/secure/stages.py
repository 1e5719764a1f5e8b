"""A client's side of a secure aggregation on Flower messages: `train.keys` to `train.unmask`.

Between two stages the client's secrets lie in Flower's context, in memory:
never in a file. They go when they are not needed any more, and when the server
says that the round has failed.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias, TypeVar, final

from flwr.app import ConfigRecord, Context, Message, RecordDict

from hedgerow.client.secure.answered_rounds import SecureMemory
from hedgerow.client.secure.enrolment import Enrolment, load_enrolment
from hedgerow.records import TrainRequest, pack_stage, pack_vector, unpack_stage, unpack_train
from hedgerow.secure import client as protocol
from hedgerow.secure.codec import decode, encode
from hedgerow.secure.errors import AlreadyAnswered, OutOfOrder, StaleRound, UnknownIdentity, WrongModel
from hedgerow.secure.messages import Adverts, Delivery, Setup, Survivors, Unmask
from hedgerow.secure.register import Party, Register
from hedgerow.secure.states import Confirmed, Contributed, Joined, Shared, State, pack, unpack
from hedgerow.strategies.pipeline.transform import Transform
from hedgerow.strategies.transforms.mask import RingVector, Shape, model_hash, open_payload
from hedgerow.types import Layout

log = logging.getLogger("hedgerow")

Enrol: TypeAlias = Callable[[Context, str], Enrolment]
"""`(context, client name) -> enrolment`."""

Fit: TypeAlias = Callable[[Context, str, TrainRequest, Shape], RingVector]
"""Trains, and puts the encoded update into the ring."""

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
        enrolment: gives the client's identity and register.
        folder: where the client remembers which rounds it has answered.
        apart: rounds from one of a client's to the next, at least.
    """

    def __init__(
        self,
        pipeline: Transform,
        layout: Callable[[], Layout],
        name: Callable[[Context], str],
        fit: Fit,
        enrolment: Enrol,
        folder: Path | None,
        apart: int = 1,
    ) -> None:
        self._apart = apart
        self._pipeline, self._layout, self._name = pipeline, layout, name
        self._fit, self._enrolment, self._folder = fit, enrolment, folder

    def keys(self, message: Message, context: Context) -> Message:
        """Stage `keys`."""
        name = self._name(context)
        setup = decode(Setup, unpack_stage(message.content))
        advert, state = protocol.join(self._party(context, name), setup)
        self._memory(context, name).claim(setup.run, setup.round, self._apart)
        return self._answer(message, context, advert, state)

    def shares(self, message: Message, context: Context) -> Message:
        """Stage `shares`."""
        before = self._state(context, Joined)
        party = self._party(context, before.advert.name)
        answer, state = protocol.share(party, before, decode(Adverts, unpack_stage(message.content)))
        return self._answer(message, context, answer, state)

    def masked(self, message: Message, context: Context) -> Message:
        """Stage `masked`: here the client trains."""
        before = self._state(context, Shared)
        name, layout = before.advert.name, self._layout()
        party = self._party(context, name)
        delivery = decode(Delivery, unpack_stage(message.content))
        protocol.check_delivery(party, before, delivery)
        request = unpack_train(message.content, layout)
        if request.round != before.setup.round:
            raise StaleRound(f"the model is of round {request.round}, the keys are of {before.setup.round}")
        if model_hash(request.model, layout, request.seed, request.round) != before.setup.model:
            raise WrongModel("the model, or the seed, is not the one that the cohort was told of")
        shape = party.shape(len(before.setup.members))
        vector = self._fit(context, name, request, shape)
        answer, vector, state = protocol.contribute(party, before, delivery, vector)
        self._keep(context, state)
        for sender in answer.complaints:
            log.warning("client %s: the shares of client %s are not what it committed to", name, sender)
        return Message(pack_vector(open_payload(vector, shape), encode(answer)), reply_to=message)

    def survivors(self, message: Message, context: Context) -> Message:
        """Stage `survivors`."""
        before = self._state(context, Contributed)
        party = self._party(context, before.name)
        answer, state = protocol.confirm(party, before, decode(Survivors, unpack_stage(message.content)))
        return self._answer(message, context, answer, state)

    def unmask(self, message: Message, context: Context) -> Message:
        """Stage `unmask`, after which the client has no secrets of this round."""
        before = self._state(context, Confirmed)
        party = self._party(context, before.contributed.name)
        answer = protocol.reveal(party, before, decode(Unmask, unpack_stage(message.content)))
        context.state[_KEY] = ConfigRecord({"state": b"", "done": True})
        return Message(pack_stage(encode(answer)), reply_to=message)

    def failed(self, message: Message, context: Context) -> Message:
        """The round has failed: forget its secrets."""
        context.state.pop(_KEY, None)
        why = unpack_stage(message.content).decode(errors="replace")[:500]
        log.warning("a round of secure aggregation failed, and the model stays: %s", why)
        return Message(RecordDict(), reply_to=message)

    def _party(self, context: Context, name: str) -> Party:
        enrolled, memory = self._enrolment(context, name), self._memory(context, name)
        known, first = enrolled.pinned, enrolled.trust_on_first_use
        if first:
            known = {**memory.learned(), **known}
        secure = self._pipeline.secure
        assert secure is not None
        register = Register(known, trust_on_first_use=first, learned=memory.learn)
        return Party(name, enrolled.secret, register, secure, self._shape)

    def _shape(self, clients: int) -> Shape:
        return Shape.of(self._pipeline, self._layout(), clients)

    def _memory(self, context: Context, name: str) -> SecureMemory:
        folder = self._folder
        if folder is None and (enrolled := context.node_config.get("enrolment")):
            folder = Path(str(enrolled))
        return SecureMemory(context, folder, name)

    def _answer(self, message: Message, context: Context, answer: object, state: State) -> Message:
        self._keep(context, state)
        return Message(pack_stage(encode(answer)), reply_to=message)

    def _keep(self, context: Context, state: State) -> None:
        context.state[_KEY] = ConfigRecord({"state": pack(state), "done": False})

    def _state(self, context: Context, kind: type[T]) -> T:
        record = context.state.get(_KEY)
        if not isinstance(record, ConfigRecord):
            raise OutOfOrder("no round of secure aggregation is under way here")
        if record["done"]:
            raise AlreadyAnswered("this client has revealed its shares, and has nothing left of that round")
        data = record["state"]
        assert isinstance(data, bytes)
        return unpack(data, kind)
