"""No message of any kind, to a client or from one, holds a value of a personal layer."""

import numpy as np
import pytest

import hedgerow as hr
from hedgerow.client.app import client_app
from hedgerow.client.secure.enrolment import SimulatedEnrolments
from hedgerow.server.evaluation import EvaluationPlan
from hedgerow.strategies import parse_pipeline
from hedgerow.types import Deployment, Model
from tests.devices_grid import PlainGrid
from tests.personal_net import DATA, LOCAL, TRAINER, bn, per, samples

MASKED = "chain(weight_by_examples(30), clip(5.0), quantize(8, range=1.0), mask())"


STRATEGIES = {
    "fedper": per(),
    "fedbn": bn(),
    "quantized": per(pipeline=parse_pipeline("quantize(8)")),
    "scaffold": hr.scaffold(personal="head.", local=LOCAL),
    "masked": per(pipeline=parse_pipeline(MASKED), weighted=False, sampling=hr.uniform(10)),
}


class Watched:
    """The trainer, and every personal value that it is given or makes."""

    layout, supports = TRAINER.layout, TRAINER.supports
    initial, evaluate, outputs = TRAINER.initial, TRAINER.evaluate, TRAINER.outputs

    def __init__(self, split) -> None:
        self.split, self.secret = split, [split.own_part(TRAINER.initial(3))]

    def fit(self, model, *args, **options):
        fit = TRAINER.fit(model, *args, **options)
        own = self.split.own_part(model)
        change = self.split.own_part(Model(fit.delta, fit.buffers))
        self.secret += [own, change, self.split.own_after(own, fit)]
        return fit

    def needles(self, width: int) -> set[bytes]:
        """All runs of so many bytes of personal values, but for those that any model begins with."""
        found = set()
        for values in (part for model in self.secret for part in (model.parameters, model.buffers)):
            data = values.tobytes()
            found |= {data[k : k + width] for k in range(0, len(data) - width + 1, 4)}
        plain = [np.float32(v).tobytes() for v in (0, 1)]
        return {needle for needle in found if any(needle[k : k + 4] not in plain for k in range(0, width, 4))}


@pytest.mark.parametrize("name", STRATEGIES)
def test_no_message_holds_a_personal_value(name):
    strategy, masked = STRATEGIES[name], name == "masked"
    data = hr.datasets.HeldOut(hr.from_function(10 if masked else 6, samples), 0.3)
    trainer = Watched(strategy.split(TRAINER.layout))
    app = client_app(
        trainer, data, strategy,
        deployment=Deployment.MASKED, enrolment=SimulatedEnrolments(bytes(32)).enrolment, guard=None,
    )  # fmt: skip
    options = {} if masked else {"client_evaluation": EvaluationPlan()}
    with PlainGrid(app, data.names) as grid:
        state = hr.begin(strategy, trainer.initial(3), trainer.layout)
        results = list(
            hr.rounds(
                grid, strategy, state, trainer.layout,
                num_rounds=2, seed=3, deployment=Deployment.MASKED, **options,
            )
        )  # fmt: skip
    assert not any(r.dropped or r.failed for r in results)
    assert len(trainer.secret) == 1 + 3 * sum(len(r.cohort) for r in results)
    assert len(grid.wire) >= 2 * 2 * 4
    # What a mask makes is random, and has any four bytes now and then.
    width = 8 if masked else 4
    needles = trainer.needles(width)
    assert len(needles) > 100
    for way, message in grid.wire:
        assert not {message[k : k + width] for k in range(len(message) - width + 1)} & needles, way
    shared = trainer.split.shared
    assert all(len(r.state.model.parameters) == shared.dimension for r in results)
    if not masked:
        largest = 4 * (shared.dimension * (1 + len(strategy.streams)) + shared.buffer_size)
        assert max(len(message) for _, message in grid.wire) < largest + 900


def test_the_search_would_find_a_personal_layer_that_travelled():
    strategy = hr.fedavg(sampling=hr.uniform(4), local=LOCAL)
    trainer = Watched(per().split(TRAINER.layout))
    with PlainGrid(client_app(trainer, DATA, strategy), DATA.names) as grid:
        state = hr.begin(strategy, trainer.initial(3), trainer.layout)
        list(hr.rounds(grid, strategy, state, trainer.layout, num_rounds=1, seed=3))
    needles = trainer.needles(4)
    ways = {
        way for way, message in grid.wire
        if {message[k : k + 4] for k in range(len(message) - 3)} & needles
    }  # fmt: skip
    assert ways == {"down", "up"}


def test_under_a_mask_and_with_noise_they_stay_too():
    data = hr.from_function(10, samples)
    masked = hr.fedbn(pipeline=parse_pipeline(MASKED), weighted=False, sampling=hr.uniform(10), local=LOCAL)
    (plain,), (whole,) = (
        list(hr.simulate(TRAINER, data, masked, rounds=1, seed=3, masks=masks)) for masks in (False, True)
    )
    assert not whole.failed
    assert whole.state.model.parameters.tobytes() == plain.state.model.parameters.tobytes()
    private = hr.dp_fedavg(1.0, sampling=hr.poisson(5, population=10), local=LOCAL, personal="norms")
    (result,) = hr.simulate(TRAINER, data, private, rounds=1, seed=3)
    assert not result.dropped
    assert result.epsilon is not None
    assert len(result.state.model.parameters) == private.split(TRAINER.layout).shared.dimension
