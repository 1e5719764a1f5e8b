"""The plain numpy DP-FedAvg of the benchmark and Hedgerow's: without chance and noise, the same model."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

import hedgerow as hr
from hedgerow.models import build
from hedgerow.privacy.accounting import epsilon
from hedgerow.privacy.events import Gaussian

FILE = Path(__file__).parents[2] / "benchmarks" / "privacy" / "reference.py"


@pytest.fixture(scope="module")
def reference():
    spec = importlib.util.spec_from_file_location("privacy_reference", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def layers(vector, sizes):
    """The reference's layers, from a vector in torch's order."""
    made, start = [], 0
    for inputs, outputs in sizes:
        weights = vector[start : start + inputs * outputs].reshape(outputs, inputs).T
        start += inputs * outputs
        made.append((weights.astype(np.float64), vector[start : start + outputs].astype(np.float64)))
        start += outputs
    assert start == len(vector)
    return made


@pytest.mark.parametrize(
    ("model", "hidden"), [(("logistic", {}), ()), (("mlp-2nn", {"hidden": 5}), (5, 5))]
)
def test_without_noise_both_give_one_model(reference, model, hidden):
    data = hr.load_dataset("heart-disease").split(hr.iid(12), 3)
    inputs, classes, clip = int(np.prod(data.dataset.input_shape)), data.dataset.num_classes, 0.05
    name, own = model
    task = hr.Task(model=build(name, input_shape=data.dataset.input_shape, num_classes=classes, **own))
    strategy = hr.dp_fedavg(
        clip, 1e-7, 1e-3, server_learning_rate=0.8, server_momentum=0.5,
        sampling=hr.cyclic(12, population=12),
        local=hr.LocalTraining(learning_rate=0.1, epochs=3, batch_size=1000),
    )  # fmt: skip
    *_, last = hr.simulate(task, data, strategy, rounds=4, test=data.dataset.test, seed=5)
    sizes = list(zip([inputs, *hidden], [*hidden, classes], strict=True))
    start = layers(hr.TorchTrainer(task).initial(5).parameters, sizes)
    settings = reference.Settings(
        rounds=4, cohort=12, clip_norm=clip, noise_multiplier=1e-7, learning_rate=0.1, epochs=3,
        batch_size=1000, server_learning_rate=0.8, server_momentum=0.5, hidden=hidden,
    )  # fmt: skip
    clients = [
        (s.x.reshape(len(s.x), -1).astype(np.float64), s.y) for s in map(data.samples, data.names)
    ]
    found = reference.dp_fedavg(clients, classes, settings, "cyclic", np.random.default_rng(0), start)
    moved = reference.flat(found) - reference.flat(start)
    assert np.linalg.norm(moved) > clip
    ours = reference.flat(layers(last.state.model.parameters, sizes))
    assert np.abs(ours - reference.flat(found)).max() < 1e-5
    test = data.dataset.test
    accuracy = reference.accuracy(found, test.x.reshape(len(test.x), -1).astype(np.float64), test.y)
    assert abs(accuracy - last.evaluation["accuracy"]) <= 1 / len(test)


def test_its_noise_is_that_of_the_ledger(reference):
    for asked in (0.5, 2.0, 8.0):
        noise = reference.noise_multiplier(asked, 1e-4, 10)
        assert epsilon([Gaussian(noise)] * 10, 1e-4) == pytest.approx(asked, rel=1e-3)


def test_it_takes_noise_and_cohorts_from_its_generator(reference):
    clients = [(np.zeros((1, 3)), np.array([0]))] * 400
    settings = reference.Settings(1, 100, 2.0, 3.0, 0.1, 0, 1)
    for sampling in ("poisson", "cyclic"):
        start = [(np.zeros((3, 4000)), np.zeros(4000))]
        model = reference.dp_fedavg(clients, 4000, settings, sampling, np.random.default_rng(1), start)
        assert reference.flat(model).std() == pytest.approx(3.0 * 2.0 / 100, rel=0.03)
