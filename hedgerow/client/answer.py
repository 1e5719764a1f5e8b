"""A client's answer to a message, bytes in and bytes out; it needs neither Flower nor torch."""

from functools import partial

from hedgerow.client import evaluation
from hedgerow.client.client_round import ClientConfig, ClientRound, LocalClient
from hedgerow.client.kinds import STAGES
from hedgerow.client.received import received
from hedgerow.client.secure.stages import SecureClient
from hedgerow.client.secure.summand import Summand
from hedgerow.ring.vector import RingVector, Shape, open_payload
from hedgerow.secure.errors import NotMasked, UnknownIdentity
from hedgerow.secure.messages import EVALUATE, TRAIN
from hedgerow.spans import span
from hedgerow.strategies.transforms.mask import shape_of
from hedgerow.types import Fit, PayloadError
from hedgerow.wire.codec import decode, encode
from hedgerow.wire.content import Content
from hedgerow.wire.messages import TrainRequest, pack_identity, pack_vector, unpack_train
from hedgerow.wire.replies import pack_reply


def answer(config: ClientConfig, client: LocalClient, kind: str, request: bytes) -> bytes:
    """Answer a message; the same strategy, trainer, store, samples and request give the same bytes.

    (Except for the secrets of masks and for unseeded noise, which come from the operating system.)

    Args:
        kind: of the message: `"query"`, `"train"`, `"train.STAGE"` with one of `STAGES`; or, of a client
            that measures models, `"evaluate"` and `"evaluate.STAGE"`.
        request: the message, as `wire.codec` writes it.

    Raises:
        PayloadError: the request is malformed.
        ValueError: the client cannot train.
        Refused: the client refuses to answer.

    >>> from hedgerow.client.state import StateStore
    >>> from hedgerow.strategies import fedavg
    >>> kitchen = LocalClient("kitchen", lambda: [], StateStore())
    >>> decode(answer(ClientConfig(fedavg(), trainer=None), kitchen, "query", b""))
    {'hedgerow': {'client': 'kitchen'}}
    """
    return encode(respond(config, client, kind, decode(request)))


def respond(config: ClientConfig, client: LocalClient, kind: str, content: Content) -> Content:
    """Answer a message that has been decoded; see `answer`."""
    if kind == "query":
        return identify(client)
    if kind == "train":
        return _train(config, client, content)
    if kind == "evaluate" and client.held_out is not None:
        with span("records"):
            request = whole_request(config, client, content)
        return evaluation.evaluated(config, client, request)
    purpose, _, stage = kind.partition(".")
    if stage not in STAGES or purpose not in _purposes(config, client):
        raise PayloadError(f"the message is a {kind!r}, which {config.strategy.name} does not have")
    return _secure(config, client, purpose).answer(stage, content)


def identify(client: LocalClient) -> Content:
    """The client's name, as message content; raises `ValueError` if it has no data."""
    client.samples()
    return pack_identity(client.name)


def read_request(config: ClientConfig, content: Content) -> TrainRequest:
    """What a client is asked to train; raises `PayloadError`."""
    layout = config.layers.layout
    sizes = {stream.name: len(stream.first(layout)) for stream in config.strategy.streams}
    return unpack_train(content, layout, sizes)


def whole_request(config: ClientConfig, client: LocalClient, content: Content) -> TrainRequest:
    """The request with the whole model, from what the client has of what the request only names.

    Raises:
        LacksConstants, LacksBase, LacksBoth: the client does not have that.
        PayloadError: the request is malformed, or what it sends does not have the hash that it names.
    """
    return received(config, client.store, read_request(config, content))


def in_the_clear(client_round: ClientRound, fit: Fit) -> Content:
    """The answer of a masking pipeline, sent without its mask; raises `NotMasked` where that is forbidden."""
    config, request = client_round.config, client_round.request
    refuse_in_the_clear(config)
    shape = _shape(config, request.clients)
    return pack_vector(open_payload(client_round.in_ring(fit, shape), shape), b"")


def refuse_in_the_clear(config: ClientConfig) -> None:
    """Raise `NotMasked` if updates may only be sent masked."""
    if config.strategy.pipeline.sum_only and not config.unmasked:
        raise NotMasked("the server asks for an update without a mask; this client's pipeline masks")


def _train(config: ClientConfig, client: LocalClient, content: Content) -> Content:
    with span("records"):
        request = whole_request(config, client, content)
    refuse_in_the_clear(config)
    client_round = ClientRound(config, client, request)
    if config.strategy.pipeline.sum_only:
        return in_the_clear(client_round, client_round.masked_fit())
    reply = client_round.reply(client_round.fit(client_round.samples(), client_round.correction()))
    with span("records"):
        return pack_reply(reply, round=request.round, client=client.name)


def _purposes(config: ClientConfig, client: LocalClient) -> tuple[str, ...]:
    """What the strategy has summed under a mask."""
    if not config.strategy.pipeline.sum_only:
        return ()
    return (TRAIN,) if client.held_out is None else (TRAIN, EVALUATE)


def _update(config: ClientConfig, client: LocalClient) -> Summand:
    """What a client adds that trains."""
    strategy = config.strategy

    def vector(request: TrainRequest, shape: Shape) -> RingVector:
        client_round = ClientRound(config, client, request)
        return client_round.in_ring(client_round.masked_fit(), shape)

    return Summand(TRAIN, partial(_shape, config), vector, strategy.sampling.groups or 1)


def _shape(config: ClientConfig, clients: int) -> Shape:
    """What each of a cohort adds when it trains."""
    strategy, layout = config.strategy, config.layers.layout
    return shape_of(strategy.pipeline, layout, clients, strategy.sent_beside(layout))


def _secure(config: ClientConfig, client: LocalClient, purpose: str) -> SecureClient:
    if purpose == EVALUATE:
        evaluation.refuse(config)
    if client.enrolment is None:
        raise UnknownIdentity(f"client {client.name!r} has no identity, which a mask needs")

    secure = config.strategy.pipeline.protection.secure
    assert secure is not None
    return SecureClient(
        secure, config.layers.layout, client.name, client.enrolment(), client.store.notes,
        (_update if purpose == TRAIN else evaluation.summand)(config, client),
        partial(received, config, client.store),
    )  # fmt: skip
