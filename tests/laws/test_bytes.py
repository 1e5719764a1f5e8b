"""The bytes in the ledger are the bytes of the record that was sent."""

import numpy as np
import pytest
from flwr.common.serde import recorddict_to_proto

from hedgerow import rng
from hedgerow.client.app import client_app
from hedgerow.client.secure.enrolment import SimulatedEnrolments
from hedgerow.privacy.accounting import Budget
from hedgerow.server.rounds import begin, rounds
from hedgerow.simulation.grid import InProcessGrid
from hedgerow.strategies import TRANSFORMS, Strategy, cyclic, fedavg, parse_pipeline, poisson, uniform
from hedgerow.types import Fit
from tests.support import MeanTrainer, clients

ROUNDED = "randomized_round(0.125, 0.5)"
PIPELINES = {
    "float32": "float32()",
    "chain": "chain(clip(1.0), random_k(0.3), quantize(4))",
    "quantize": "quantize(5)",
    "top_k": "top_k(0.1)",
    "eden": "eden(2)",
    "drive": "drive()",
    "ternary": "error_feedback(ternary(0.1))",
    "entropy": "entropy(eden(4))",
    "random_k": "random_k(0.1)",
    "subspace": "subspace(0.1)",
    "error_feedback": "error_feedback(top_k(0.2), quantize(8))",
    "clip": "clip(0.5)",
    "adaptive_clip": "chain(adaptive_clip(0.5), gaussian_noise(1.0), quantize(8))",
    "randomized_round": f"chain(clip(0.5), {ROUNDED}, distributed_noise(9.0, 0.5, 0.125, 60))",
    "distributed_noise": f"chain(clip(0.5), {ROUNDED}, distributed_noise(20.0, 0.5, 0.125, 60, 32))",
    "skellam_noise": f"chain(clip(0.5), {ROUNDED}, skellam_noise(1.0, 0.5, 0.125, 60, 8))",
    "banded_noise": "chain(clip(0.5), banded_noise(1.0, 1, 10))",
    "gaussian_noise": "chain(clip(0.5), gaussian_noise(1.0))",
    "weight_by_examples": "weight_by_examples()",
    "mask": "chain(clip(1.0), quantize(4, range=1.0), mask())",
}


class RandomTrainer(MeanTrainer):
    """Sends random deltas, so that every payload differs."""

    def fit(self, model, data, local, *, seed, round, client):
        random = rng.generator(seed, "delta", round=round, client=client)
        delta = random.standard_t(2, size=self.layout.dimension).astype(np.float32)
        return Fit(delta, np.empty(0, np.float32), len(data), {"loss": float(random.normal())})


def private(pipeline):
    draw = cyclic if pipeline.protection.noise.min_honest else poisson
    sampling = draw(100, population=100)
    return Strategy(pipeline=pipeline, sampling=sampling, budget=Budget(delta=1e-3))


def test_every_transform_is_here():
    assert sorted(PIPELINES) == sorted(TRANSFORMS.names())


@pytest.mark.parametrize("name", PIPELINES)
def test_bytes_up_are_those_of_the_serialised_reply(name):
    pipeline = parse_pipeline(PIPELINES[name])
    noised = pipeline.protection.noise is not None
    strategy = private(pipeline) if noised else fedavg(pipeline=pipeline, sampling=uniform(100))
    trainer, data = RandomTrainer(), clients(100)
    app = client_app(trainer, data, strategy, enrolment=SimulatedEnrolments(bytes(32)).enrolment)
    up, down = {}, {}

    def wire(message, context):
        """Serialises both directions as Flower does, on the client's side."""
        reply = app(message, context)
        client = data.names[int(context.node_config["partition-id"])]
        # A secure aggregation has several messages.
        down[client] = down.get(client, 0) + len(recorddict_to_proto(message.content).SerializeToString())
        up[client] = up.get(client, 0) + len(recorddict_to_proto(reply.content).SerializeToString())
        return reply

    with InProcessGrid(wire, 100, names=lambda i: data.names[i]) as grid:
        state = begin(strategy, trainer.initial(0), trainer.layout)
        (result,) = rounds(grid, strategy, state, trainer.layout, num_rounds=1)
    assert not result.dropped
    assert result.bytes_up == up
    assert result.bytes_down == down
    assert len(up) == 100
