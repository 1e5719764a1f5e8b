"""Golden vectors of a device's answers: requests, and the bytes with which one client answers them.

The trainer has numpy alone, and computes what is exact, or rounded once, in every language: see `Exact`.
"""

import json
from collections.abc import Iterator
from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np

from hedgerow.client.answer import answer
from hedgerow.client.client_round import ClientConfig, LocalClient
from hedgerow.client.secure.enrolment import SimulatedEnrolments
from hedgerow.client.state import StateStore
from hedgerow.recipe.strategy import build
from hedgerow.ring.vector import read_vector
from hedgerow.secure.codec import decode, encode
from hedgerow.secure.messages import Advert, Masked, Revealed, Setup, Shares, Signed, name_of
from hedgerow.secure.register import Party
from hedgerow.secure.server import SecureRound
from hedgerow.strategies.measuring import measured_shape
from hedgerow.strategies.strategy import Strategy
from hedgerow.strategies.transforms.mask import model_hash, shape_of
from hedgerow.types import Fit, Layout, LocalTraining, Model, Samples, Tensor, hash_constants
from hedgerow.wire import codec
from hedgerow.wire.messages import pack_stage, pack_train, unpack_stage, unpack_vector
from tests.secure_round import stream

SEED, CLIENT = 2**40 + 7, "kitchen"
BODY = (Tensor("body.weight", (2, 3)), Tensor("body.bias", (3,)))
HEAD = (Tensor("head.weight", (3, 2)), Tensor("head.bias", (2,)))
PLAIN = Layout((*BODY, *HEAD))
WHOLE = Layout(
    (*BODY, *HEAD), (Tensor("body.mean", (3,)),), (Tensor("pad", (2,)),), ("body.bias", "body.mean")
)
COHORT = ("attic", "cellar", "garden", CLIENT)

Description = dict[str, Any]

ALONE: dict[str, tuple[Layout, Description]] = {
    "plain": (WHOLE, {"preset": "fedavg", "local": {"epochs": 2, "batch_size": 4}}),
    "eight bits": (WHOLE, {"preset": "fedprox", "pipeline": "quantize(8)"}),
    "residuals": (PLAIN, {"preset": "fedavg", "pipeline": "error_feedback(top_k(0.2), quantize(8))"}),
    "random positions": (
        PLAIN,
        {"preset": "fedadam", "pipeline": "error_feedback(random_k(0.25, unbiased=False))"},
    ),
    "server noise": (PLAIN, {"preset": "dp_fedavg"}),
    "control variates": (
        WHOLE,
        {"preset": "scaffold", "local": {"max_steps": 3, "learning_rate_decay": 0.9}},
    ),
    "reaches": (
        PLAIN,
        {"preset": "fednova", "local": {"momentum": 0.5, "batch_size": 2}, "pipeline": "quantize(8)"},
    ),
    "regularised": (PLAIN, {"preset": "feddyn", "options": {"alpha": 0.25}}),
    "own head": (WHOLE, {"preset": "fedper", "personal": ["head."]}),
    "own norms": (WHOLE, {"preset": "fedbn", "pipeline": "quantize(4, rounding='nearest')"}),
    "trainer's state": (PLAIN, {"preset": "fedavgm"}),
}
MASKED: dict[str, tuple[Layout, Description]] = {
    "masked": (WHOLE, {"preset": "secure_fedavg", "options": {"min_clients": 4, "bits": 8}}),
    "masked reaches": (
        PLAIN,
        {
            "preset": "fednova", "weighted": False,
            "pipeline": "chain(clip(1.0), quantize(12, range=1.0), mask(min_clients=4))",
        },
    ),
    "masked noise": (
        PLAIN,
        {"preset": "secure_dp_fedavg", "options": {"min_clients": 4}, "sampling": "cyclic(4, population=40)"},
    ),
    "masked whole noise": (
        PLAIN,
        {
            "preset": "secure_dp_fedavg", "options": {"min_clients": 4, "noise": "skellam", "bits": 12},
            "sampling": "cyclic(4, population=40)",
        },
    ),
}  # fmt: skip


class Exact:
    """Moves each value to the mean of the samples; their sums are exact.

    With a correction, it is taken off; a trainer with state adds how often it was called, in 64ths.
    """

    def __init__(self, layout: Layout, keeps: bool) -> None:
        self.layout = layout
        others = {"correction", "max_steps", "momentum", "proximal"}
        self.supports = frozenset(others | ({"state"} if keeps else set()))

    def initial(self, seed: int) -> Model:
        return Model(values(self.layout.dimension, 3), values(self.layout.buffer_size, 5))

    def fit(self, model: Model, data: Samples, local: LocalTraining, **given: Any) -> Fit:
        delta = data.x.mean(0, dtype=np.float32) - model.parameters
        if "correction" in given:
            delta = delta - given["correction"]
        state = {}
        if "state" in given:
            seen = given["state"].get("seen", np.zeros(1, np.int64)) + 1
            state, delta = {"seen": seen}, delta + np.float32(seen[0] / 64)
        buffers = model.buffers + np.float32(0.25)
        return Fit(delta, buffers, len(data), self._told(delta), state=state)

    def evaluate(self, model: Model, data: Samples) -> dict[str, float]:
        return self._told(data.x[0] - model.parameters)

    def _told(self, moved: np.ndarray) -> dict[str, float]:
        return {"loss": float(np.abs(moved).max()), "accuracy": float((moved > 0).mean())}


def values(n: int, factor: int) -> np.ndarray:
    """Multiples of 2**-7 from -1 to 1: as `vector` in web/tests/client.test.ts."""
    i = np.arange(n, dtype=np.int64)
    return ((i * i * factor + i * 31 + factor) % 257 / 128.0 - 1).astype(np.float32)


def samples(layout: Layout, client: str, held_out: bool = False) -> Samples:
    """A client's own: as many as its name has letters, or two that it holds out."""
    n = 2 if held_out else len(client)
    x = values(n * layout.dimension, 11 * len(client) + held_out).reshape(n, layout.dimension)
    return Samples(x, np.zeros(n, np.int64))


def model(layout: Layout, round: int) -> Model:
    """What the server sends in a round."""
    sizes = layout.dimension, layout.buffer_size, layout.constant_size
    return Model(values(sizes[0], round), values(sizes[1], 7 * round), values(sizes[2], 13))


def configured(layout: Layout, description: Description, keeps: bool = False) -> ClientConfig:
    return ClientConfig(build(description), Exact(layout, keeps), seeded_noise=True)


def local_client(layout: Layout, name: str, identities: SimulatedEnrolments) -> LocalClient:
    return LocalClient(
        name, partial(samples, layout, name), StateStore(),
        enrolment=partial(identities.enrolment, None, name),
        held_out=partial(samples, layout, name, True),
    )  # fmt: skip


def request(config: ClientConfig, layout: Layout, round: int, clients: int = 0) -> Any:
    """The request of a round; the second only names the constants, by the third the second did not count."""
    strategy, shared = config.strategy, config.layers.layout
    sent = config.layers.split.shared_part(model(layout, round))
    served = {stream.name: len(stream.first(shared)) for stream in strategy.streams if not clients}
    streams = {name: values(n, 17 * round) * np.float32(0.125) for name, n in served.items()}
    named = hash_constants(sent.constants) if layout.constant_size else ""
    content = pack_train(
        sent, shared, round=round, seed=SEED, streams=streams, clients=clients,
        uncounted={CLIENT: 2} if round == 3 and any(s.confirmed for s in strategy.streams) else None,
        constants=named if round == 2 else "",
    )  # fmt: skip
    if round == 1 and named:
        content["hedgerow"]["constants"] = named
    return content


def alone(name: str) -> dict[str, Any]:
    """Three rounds of one client, and an evaluation where it may tell that in the clear."""
    layout, description = ALONE[name]
    config = configured(layout, description, name == "trainer's state")
    client = local_client(layout, CLIENT, SimulatedEnrolments(bytes(32)))
    kinds = ["train", "train", "train", *([] if config.strategy.private else ["evaluate"])]
    told = []
    for kind, round in zip(kinds, (1, 2, 3, 3), strict=False):
        asked = codec.encode(request(config, layout, round))
        told.append(
            {"kind": kind, "request": asked.hex(), "reply": answer(config, client, kind, asked).hex()}
        )
    return {"description": json.dumps(description), "layout": shown_layout(layout), "messages": told}


def masked(name: str) -> dict[str, Any]:
    """All stages of a round, with what one client is asked and answers; and of an evaluation where it may."""
    layout, description = MASKED[name]
    config, identities = configured(layout, description), SimulatedEnrolments(bytes(32))
    clients = [local_client(layout, each, identities) for each in COHORT]
    messages = list(_stages(config, layout, clients, "train"))
    if not config.strategy.private:
        messages += _stages(config, layout, clients, "evaluate")
    keys = {each: identities[each].hex() for each in COHORT}
    secret = identities.enrolment(None, CLIENT).secret.hex()
    return {
        "description": json.dumps(description), "layout": shown_layout(layout), "secret": secret,
        "register": keys, "messages": messages,
    }  # fmt: skip


def _stages(
    config: ClientConfig, layout: Layout, clients: list[LocalClient], purpose: str
) -> Iterator[dict[str, Any]]:
    strategy, shared, n = config.strategy, config.layers.layout, len(clients)
    secure = strategy.pipeline.protection.secure
    assert secure is not None
    shape = _shape(strategy, shared, n) if purpose == "train" else measured_shape(secure, n)
    plan, train = secure.plan(n), request(config, layout, 1, n)
    sent = config.layers.split.shared_part(model(layout, 1))
    setup = Setup(
        name_of("5eed", purpose), 1, COHORT, plan.neighbours, plan.threshold, plan.survivors,
        shape.ring.bits, shape.length, shape.words, model_hash(sent, shared, SEED, 1),
    )  # fmt: skip
    server, told = SecureRound(setup, shape), []

    def ask(stage: str, said: Any, more: Any = None) -> Iterator[tuple[str, Any]]:
        for client in clients:
            kind, asked = f"{purpose}.{stage}", codec.encode(pack_stage(encode(said(client.name)), more))
            fixed = partial(Party, random=stream(f"{client.name} {kind}"))
            with patch("hedgerow.client.secure.stages.Party", fixed):
                reply = answer(config, client, kind, asked)
            if client.name == CLIENT:
                told.append({"kind": kind, "request": asked.hex(), "reply": reply.hex()})
            yield client.name, codec.decode(reply)

    for name, reply in ask("keys", lambda name: setup):
        server.add_advert(name, decode(Advert, unpack_stage(reply)))
    for name, reply in ask("shares", lambda name: server.adverts):
        server.add_shares(name, decode(Shares, unpack_stage(reply)))
    for name, reply in ask("masked", server.delivery, train):
        server.add_masked(name, decode(Masked, unpack_stage(reply)), read_vector(unpack_vector(reply), shape))
    for name, reply in ask("survivors", lambda name: server.survivors):
        server.add_signature(name, decode(Signed, unpack_stage(reply)))
    for name, reply in ask("unmask", lambda name: server.unmask):
        server.add_revealed(name, decode(Revealed, unpack_stage(reply)))
    server.unmasked()
    yield from told


def _shape(strategy: Strategy, layout: Layout, clients: int) -> Any:
    return shape_of(strategy.pipeline, layout, clients, strategy.sent_beside(layout))


def shown_layout(layout: Layout) -> dict[str, Any]:
    kinds = {"parameters": layout.parameters, "buffers": layout.buffers, "constants": layout.constants}
    told: dict[str, Any] = {
        kind: [f"{t.name} {list(t.shape)}" for t in tensors] for kind, tensors in kinds.items()
    }
    return told | {"norms": list(layout.norms)}


def answers() -> Any:
    """Every conversation, by its name."""
    return {"alone": {name: alone(name) for name in ALONE}, "masked": {name: masked(name) for name in MASKED}}
