"""The exchange of messages for one round of secure aggregation, on any Flower grid."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, final

from flwr.app import Message
from flwr.serverapp import Grid

from hedgerow.records import from_flower, measure, to_flower
from hedgerow.ring.secagg import SecureAggregation
from hedgerow.ring.vector import Shape, read_vector
from hedgerow.secure.codec import decode, encode
from hedgerow.secure.errors import Refused
from hedgerow.secure.messages import Advert, Masked, Revealed, Setup, Shares, Signed
from hedgerow.secure.register import Register
from hedgerow.secure.server import SecureRound
from hedgerow.server.exchange import exchange, instruction
from hedgerow.server.masked_collector import MaskedCollected
from hedgerow.server.replies import NO_REPLY, NOT_THERE, failure, said
from hedgerow.server.request import Request, lacking
from hedgerow.spans import span
from hedgerow.types import PayloadError
from hedgerow.wire.content import Content
from hedgerow.wire.messages import DOWN, pack_stage, unpack_stage, unpack_vector

log = logging.getLogger("hedgerow")

_FAREWELL_SECONDS = 15.0


def refusal(secure: SecureAggregation, shape: Callable[[int], Shape], clients: int) -> str:
    """Why a cohort of this size cannot be summed securely; an empty string if it can."""
    if clients < secure.min_clients:
        return f"secure aggregation needs a cohort of {secure.min_clients}; {clients} clients are available"
    try:
        secure.plan(clients)
        shape(clients)
    except ValueError as error:
        return f"secure aggregation is not possible: {error}"
    return ""


def shortfall(secure: SecureAggregation, counted: int, clients: int) -> str:
    """Why a round that is summed without masks fails with so few clients, as it would with masks."""
    needed = secure.plan(clients).survivors
    if counted >= needed:
        return ""
    error = f"{counted} of {clients} clients have sent masked vectors; {needed} are needed"
    return f"secure aggregation failed: TooFewSurvivors: {error}"


def set_up(
    secure: SecureAggregation, shape: Shape, members: Sequence[str], run: str, round: int, model: bytes
) -> Setup:
    """The announcement of a round; `model` is the hash of the model."""
    plan = secure.plan(len(members))
    return Setup(
        run, round, tuple(sorted(members)), plan.neighbours, plan.threshold, plan.survivors,
        shape.ring.bits, shape.length, shape.words, model,
    )  # fmt: skip


def aggregate(
    grid: Grid,
    setup: Setup,
    request: Request,
    nodes: Mapping[str, int],
    collected: MaskedCollected,
    *,
    register: Mapping[str, bytes] | None,
    timeout: float | None,
) -> None:
    """Run the five stages; the sum, or why there is none, is in `collected` afterwards.

    A client that does not answer a stage, or whose answer is not valid, is dropped
    from the round by name. A client that leaves after it has sent its masked
    vector still counts.

    Args:
        setup: of the round.
        request: the request to train or to evaluate, with the model.
        nodes: `{client: node id}` of the available clients of the cohort.
        register: pinned identities; `None` leaves checking them to the clients.
        timeout: seconds for each stage; `None` waits for ever.
    """
    known = None if register is None else Register(register)
    round_ = SecureRound(setup, collected.sum.shape, known)
    talk = _Conversation(grid, nodes, collected, setup, timeout)
    try:
        _stages(round_, setup, request, talk)
    except Refused as error:
        collected.failed = f"secure aggregation failed: {type(error).__name__}: {error}"
        collected.counted = 0
        log.warning("%s of round %d: %s", setup.purpose, setup.round, collected.failed)
        talk.say_it_failed(collected.failed)


def _stages(round_: SecureRound, setup: Setup, request: Request, talk: "_Conversation") -> None:
    collected, shape = talk.collected, round_.sum.shape
    announced = pack_stage(encode(setup))
    for name in sorted({*setup.members} - {*talk.there}):
        collected.dropped[name] = NOT_THERE
    talk.stage(
        "keys", dict.fromkeys(talk.there, announced),
        lambda name, reply: round_.add_advert(name, decode(Advert, unpack_stage(reply))),
    )  # fmt: skip
    adverts = pack_stage(encode(round_.adverts))
    talk.stage(
        "shares", dict.fromkeys(talk.there, adverts),
        lambda name, reply: round_.add_shares(name, decode(Shares, unpack_stage(reply))),
    )  # fmt: skip

    def masked(name: str, reply: Content) -> None:
        vector = read_vector(unpack_vector(reply), shape)
        sent = decode(Masked, unpack_stage(reply))
        with span("aggregate"):
            round_.add_masked(name, sent, vector)
        for sender in sent.complaints[: len(setup.members)]:
            log.warning("client %s says that the shares of client %s are not valid", name, said(sender))

    talk.stage(
        "masked",
        {
            name: pack_stage(encode(round_.delivery(name)), request.content(request.form(name)))
            for name in round_.sharers
        },
        masked,
        request,
    )
    survivors = round_.survivors
    talk.counts = set(survivors.alive)
    listed = pack_stage(encode(survivors))
    talk.stage(
        "survivors", dict.fromkeys(talk.there, listed),
        lambda name, reply: round_.add_signature(name, decode(Signed, unpack_stage(reply))),
    )  # fmt: skip
    signed = pack_stage(encode(round_.unmask))
    talk.stage(
        "unmask", dict.fromkeys(talk.there, signed),
        lambda name, reply: round_.add_revealed(name, decode(Revealed, unpack_stage(reply))),
    )  # fmt: skip
    with span("aggregate"):
        collected.sum = round_.unmasked()
    collected.counted = len(survivors.alive)


@final
class _Conversation:
    """Asks the clients that are still in the round, and records who was dropped and the bytes."""

    def __init__(
        self,
        grid: Grid,
        nodes: Mapping[str, int],
        collected: MaskedCollected,
        setup: Setup,
        timeout: float | None,
    ) -> None:
        self._grid, self._nodes, self._setup, self._timeout = grid, nodes, setup, timeout
        self.collected = collected
        self.there = sorted(nodes)
        self.counts: set[str] = set()

    def stage(
        self,
        stage: str,
        contents: Mapping[str, Content],
        take: Callable[[str, Content], Any],
        request: Request | None = None,
    ) -> None:
        """Send each client its message and process the replies; a client that fails is dropped.

        A client that lacks something of the model is sent its message again, with that form of the request.
        """
        answered = []
        for name, message in self._exchange(stage, contents, self._timeout, request):
            try:
                if message is None:
                    raise PayloadError(NO_REPLY)
                if message.has_error():
                    raise PayloadError(failure(message.error))
                size = measure(message.content)
                self.collected.bytes_up[name] = self.collected.bytes_up.get(name, 0) + size
                take(name, from_flower(message.content))
                answered.append(name)
            except PayloadError as error:
                self._left(name, f"{stage}: {error}")
            except Refused as error:
                self._left(name, f"{stage}: {type(error).__name__}: {error}")
        self.there = sorted(answered)

    def say_it_failed(self, why: str) -> None:
        """Tell the clients that are still in the round, so that they delete its secrets."""
        farewell = dict.fromkeys(self.there, pack_stage(why.encode()))
        for _ in self._exchange(
            "failed", farewell, min(self._timeout or _FAREWELL_SECONDS, _FAREWELL_SECONDS)
        ):
            pass

    def _exchange(
        self,
        stage: str,
        contents: Mapping[str, Content],
        timeout: float | None,
        request: Request | None = None,
    ) -> Iterator[tuple[str, Message | None]]:
        names = {self._nodes[name]: name for name in contents}
        again = set(names)

        def message(name: str, content: Content) -> Message:
            packed = to_flower(content)
            self.collected.bytes_down[name] = self.collected.bytes_down.get(name, 0) + measure(packed)
            kind, group = f"{self._setup.purpose}.{stage}", str(self._setup.round)
            return instruction(self._grid, packed, self._nodes[name], kind, group, timeout)

        def filled(node: int, reply: Message) -> Message | None:
            if request is None or node not in again or not (lacks := lacking(reply)):
                return None
            again.remove(node)
            name = names[node]
            whole = request.content(request.form(name).filled(lacks))
            first = {key: record for key, record in contents[name].items() if key != DOWN}
            return message(name, {**first, **whole})

        messages = [message(name, content) for name, content in contents.items()]
        for node, reply in exchange(self._grid, messages, timeout, filled):
            yield names[node], reply

    def _left(self, name: str, why: str) -> None:
        if name in self.counts:
            log.warning("client %s counts, and has left: %s", name, said(why))
        else:
            self.collected.dropped[name] = said(why)
