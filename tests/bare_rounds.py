"""Rounds of clients that have numpy and nothing more: no Flower, no torch. See test_bare_client.py."""

import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from hedgerow.client.answer import answer
from hedgerow.client.client_round import ClientConfig, LocalClient
from hedgerow.client.secure.enrolment import SimulatedEnrolments
from hedgerow.client.state import StateStore
from hedgerow.recipe.strategy import build
from hedgerow.ring.vector import read_vector
from hedgerow.secure.codec import decode, encode
from hedgerow.secure.messages import Advert, Masked, Revealed, Setup, Shares, Signed
from hedgerow.secure.server import SecureRound
from hedgerow.strategies.strategy import Strategy
from hedgerow.strategies.transforms.mask import model_hash, shape_of
from hedgerow.types import Fit, Layout, LocalTraining, Model, Samples
from hedgerow.wire import codec
from hedgerow.wire.messages import pack_stage, pack_train, unpack_stage, unpack_vector

LAYOUT = Layout.flat(40)
PIPELINES = {
    "plain": "float32()",
    "with residuals": "error_feedback(top_k(0.1), quantize(8))",
    "masked": "chain(clip(5.0), quantize(8, range=1.0), mask(min_clients=5))",
}
ROUNDS = 3


class NumpyTrainer:
    """Moves each value to the mean of the client's samples."""

    layout = LAYOUT

    def initial(self, seed: int) -> Model:
        return Model(np.zeros(40, np.float32))

    def fit(self, model: Model, data: Samples, local: LocalTraining, **where: Any) -> Fit:
        delta = data.x.mean(0, dtype=np.float32) - model.parameters
        return Fit(delta, model.buffers, len(data), {"loss": float(np.square(delta).mean())})

    def evaluate(self, model: Model, data: Samples) -> dict[str, float]:
        return {"loss": float(np.square(data.x - model.parameters).mean())}


class Data:
    names = tuple(f"client-{number}" for number in range(5))

    def samples(self, name: str) -> Samples:
        number = self.names.index(name)
        return Samples(np.random.default_rng(number).normal(size=(3 + number, 40)), np.zeros(3 + number, int))


def strategy(name: str) -> Strategy:
    description = {"preset": "fedavg", "pipeline": PIPELINES[name], "weighted": name != "masked"}
    return build(description)


def model(round: int) -> Model:
    return Model(np.linspace(-1, 1, 40, dtype=np.float32) * np.float32(0.1 * round))


def request(round: int, clients: int = 0) -> bytes:
    return codec.encode(pack_train(model(round), LAYOUT, round=round, seed=7, clients=clients))


def local_clients() -> list[LocalClient]:
    identities = SimulatedEnrolments(bytes(32))
    return [
        LocalClient(
            name, partial(Data().samples, name), StateStore(),
            enrolment=partial(identities.enrolment, None, name),
        )
        for name in Data.names
    ]  # fmt: skip


def replies(name: str) -> list[bytes]:
    """What each client answers in each round."""
    config, clients = ClientConfig(strategy(name), NumpyTrainer(), seeded_noise=True), local_clients()
    return [
        answer(config, client, "train", request(round))
        for round in range(1, ROUNDS + 1)
        for client in clients
    ]


def masked_sum() -> bytes:
    """All five stages of a round; the unmasked sum."""
    masked = strategy("masked")
    config, clients = ClientConfig(masked, NumpyTrainer(), seeded_noise=True), local_clients()
    shape, plan = shape_of(masked.pipeline, LAYOUT, 5), masked.pipeline.protection.secure.plan(5)
    setup = Setup(
        "run", 1, Data.names, plan.neighbours, plan.threshold, plan.survivors,
        shape.ring.bits, shape.length, shape.words, model_hash(model(1), LAYOUT, 7, 1),
    )  # fmt: skip
    server = SecureRound(setup, shape)

    def ask(stage: str, said: Any, train: bytes | None = None) -> Iterator[tuple[str, Any]]:
        for client in clients:
            told = encode(said(client.name))
            content = pack_stage(told, None if train is None else codec.decode(train))
            reply = answer(config, client, f"train.{stage}", codec.encode(content))
            yield client.name, codec.decode(reply)

    for name, reply in ask("keys", lambda name: setup):
        server.add_advert(name, decode(Advert, unpack_stage(reply)))
    for name, reply in ask("shares", lambda name: server.adverts):
        server.add_shares(name, decode(Shares, unpack_stage(reply)))
    for name, reply in ask("masked", server.delivery, request(1, 5)):
        server.add_masked(name, decode(Masked, unpack_stage(reply)), read_vector(unpack_vector(reply), shape))
    for name, reply in ask("survivors", lambda name: server.survivors):
        server.add_signature(name, decode(Signed, unpack_stage(reply)))
    for name, reply in ask("unmask", lambda name: server.unmask):
        server.add_revealed(name, decode(Revealed, unpack_stage(reply)))
    total = server.unmasked()
    return total.total().tobytes() + total.words.tobytes()


def main() -> None:
    """Print what each kind of round gives, a line of hex digits for each answer."""
    for name in ("plain", "with residuals"):
        print(name, *(reply.hex() for reply in replies(name)))
    print("masked", masked_sum().hex())
    print("loaded", *sorted({module.partition(".")[0] for module in sys.modules} & {"flwr", "torch", "grpc"}))
