"""The client's side of secure aggregation: its answers to the stages of `train` and `evaluate` messages.

Between stages the client's secrets are kept in its notes, in memory and
encrypted: decrypting them takes the device's identity and a salt that is stored
with the record of answered rounds. They are deleted when they are no longer
needed, when the server says that the round has failed, and when the client joins
another round of any run: a client is in one round at a time.
"""

import logging
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias, TypeVar, final

from hedgerow.client.kinds import STAGES
from hedgerow.client.secure.answered_rounds import AnsweredRounds
from hedgerow.client.secure.enrolment import Enrolment
from hedgerow.client.secure.summand import Summand
from hedgerow.client.state import Note
from hedgerow.ring.secagg import SecureAggregation
from hedgerow.ring.vector import open_payload
from hedgerow.secure import client as protocol
from hedgerow.secure.codec import decode, encode
from hedgerow.secure.errors import AlreadyAnswered, OutOfOrder, StaleRound, WrongModel
from hedgerow.secure.messages import Adverts, Delivery, Setup, Survivors, Unmask
from hedgerow.secure.primitives import Secret
from hedgerow.secure.register import Party, Register
from hedgerow.secure.states import Confirmed, Contributed, Joined, Shared, State, close, reopen
from hedgerow.strategies.transforms.mask import model_hash
from hedgerow.types import Layout
from hedgerow.wire.content import Content
from hedgerow.wire.messages import TrainRequest, pack_stage, pack_vector, unpack_stage, unpack_train

log = logging.getLogger("hedgerow")

Completed: TypeAlias = Callable[[TrainRequest], TrainRequest]
"""Adds the constants to the model of a request that only names them."""

_KEY = "hedgerow.secure.round"
T = TypeVar("T", Joined, Shared, Contributed, Confirmed)


@final
@dataclass(frozen=True)
class SecureClient:
    """Answers the five stages of a round, and a sixth that reports its failure.

    Attributes:
        secure: the settings that it requires.
        layout: of the model.
        name: the client's stable name.
        enrolment: the client's identity and register, and where it records
            which rounds it has answered.
        notes: where it keeps what it needs at the next stage.
        summand: what it adds to the sum.
        completed: gives the model of a request the constants that the request only names.
    """

    secure: SecureAggregation
    layout: Layout
    name: str
    enrolment: Enrolment
    notes: MutableMapping[str, Note]
    summand: Summand
    completed: Completed = lambda request: request

    def answer(self, stage: str, content: Content) -> Content:
        """The answer to one of `STAGES`."""
        handler: Callable[[Content], Content] = {
            "keys": self._keys, "shares": self._shares, "masked": self._masked,
            "survivors": self._survivors, "unmask": self._unmask, "failed": self._failed,
        }[stage]  # fmt: skip
        return handler(content)

    def _keys(self, content: Content) -> Content:
        setup = decode(Setup, unpack_stage(content))
        advert, state = protocol.join(self._party, setup)
        self._answered.join(setup.run, setup.round, self.summand.min_separation)
        self._keep(state, setup)
        return pack_stage(encode(advert))

    def _shares(self, content: Content) -> Content:
        before = self._kept(Joined)
        answer, state = protocol.share(self._party, before, decode(Adverts, unpack_stage(content)))
        self._claim(before.setup, "shares")
        self._keep(state, before.setup)
        return pack_stage(encode(answer))

    def _masked(self, content: Content) -> Content:
        """The stage in which the client trains, or evaluates."""
        before, party, layout = self._kept(Shared), self._party, self.layout
        delivery = decode(Delivery, unpack_stage(content))
        protocol.check_delivery(party, before, delivery)
        request = self.completed(unpack_train(content, layout))
        if request.round != before.setup.round:
            raise StaleRound(f"the model is of round {request.round}, the keys of round {before.setup.round}")
        if model_hash(request.model, layout, request.seed, request.round) != before.setup.model:
            raise WrongModel("the model, or the seed, is not the one announced to the cohort")
        shape = party.shape(len(before.setup.members))
        self._claim(before.setup, "masked")
        vector = self.summand.vector(request, shape)
        answer, vector, state = protocol.contribute(party, before, delivery, vector)
        self._keep(state, before.setup)
        for sender in answer.complaints:
            log.warning("client %s: the shares of client %s do not match its commitments", self.name, sender)
        return pack_vector(open_payload(vector, shape), encode(answer))

    def _survivors(self, content: Content) -> Content:
        before = self._kept(Contributed)
        answer, state = protocol.confirm(self._party, before, decode(Survivors, unpack_stage(content)))
        self._claim(before.setup, "survivors")
        self._keep(state, before.setup)
        return pack_stage(encode(answer))

    def _unmask(self, content: Content) -> Content:
        """The last stage: afterwards the client keeps no secrets of this round."""
        before = self._kept(Confirmed)
        answer = protocol.reveal(self._party, before, decode(Unmask, unpack_stage(content)))
        self._claim(before.setup, "unmask")
        self._answered.forget(before.setup.run)
        self.notes[_KEY] = {"state": b"", "done": True}
        return pack_stage(encode(answer))

    def _failed(self, content: Content) -> Content:
        """Forget the round's secrets."""
        note = self.notes.pop(_KEY, None)
        if note is not None and not note["done"]:
            self._answered.forget(str(note["run"]))
        why = unpack_stage(content).decode(errors="replace")[:500]
        log.warning("a round of secure aggregation failed; the model is unchanged: %r", why)
        return {}

    @cached_property
    def _answered(self) -> AnsweredRounds:
        return AnsweredRounds(self.notes, self.enrolment.folder, self.name)

    @cached_property
    def _party(self) -> Party:
        known, first = self.enrolment.pinned, self.enrolment.trust_on_first_use
        if first:
            known = {**self._answered.learned(), **known}
        register = Register(known, trust_on_first_use=first, learned=self._answered.learn)
        return Party(
            self.name, Secret(self.enrolment.secret), register, self.secure, self.summand.shape,
            purpose=self.summand.purpose,
        )  # fmt: skip

    def _claim(self, setup: Setup, stage: str) -> None:
        self._answered.claim(setup.run, setup.round, STAGES.index(stage))

    def _keep(self, state: State, setup: Setup) -> None:
        closed = close(state, self._party.secret, self._answered.salt(setup.run, setup.round))
        self.notes[_KEY] = {"state": closed, "done": False, "run": setup.run, "round": setup.round}

    def _kept(self, kind: type[T]) -> T:
        note = self.notes.get(_KEY)
        if note is None:
            raise OutOfOrder("no round of secure aggregation is in progress here")
        if note["done"]:
            raise AlreadyAnswered("this client has revealed its shares, and keeps nothing of that round")
        salt = self._answered.salt(note["run"], note["round"])
        state = reopen(note["state"], kind, self._party.secret, salt)
        protocol.check_purpose(self.summand.purpose, state.setup)
        return state
