"""The plain numpy DP-FedAvg of the benchmark and Hedgerow's: without chance and noise, the same model."""

import importlib.util
import sys
from itertools import pairwise
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


def started(name, widths, **options):
    """A federation, its task, and the reference's view of both: clients, first model, sizes of the layers."""
    data = hr.load_dataset("heart-disease").split(hr.iid(12), 3)
    facts = {"input_shape": data.dataset.input_shape, "num_classes": data.dataset.num_classes}
    task = hr.Task(model=build(name, **facts, **options))
    sizes = list(pairwise([int(np.prod(data.dataset.input_shape)), *widths, data.dataset.num_classes]))
    clients = [(s.x.reshape(len(s), -1).astype(np.float64), s.y) for s in map(data.samples, data.names)]
    return data, task, clients, layers(hr.TorchTrainer(task).initial(5).parameters, sizes), sizes


MODELS = [("logistic", (), {}), ("mlp-2nn", (5, 5), {"hidden": 5})]
CLIP = 0.05
LOCAL = {"learning_rate": 0.1, "epochs": 3, "batch_size": 1000}
SERVER = {"server_learning_rate": 0.8, "server_momentum": 0.5}


@pytest.mark.parametrize(("name", "hidden", "options"), MODELS, ids=["logistic", "mlp"])
def test_without_noise_both_give_one_model(reference, name, hidden, options):
    data, task, clients, start, sizes = started(name, hidden, **options)
    strategy = hr.fedavgm(
        **SERVER, pipeline=hr.clip(CLIP), weighted=False, sampling=hr.uniform(12),
        local=hr.LocalTraining(**LOCAL),
    )  # fmt: skip
    *_, last = hr.simulate(task, data, strategy, rounds=4, test=data.dataset.test, seed=5)
    settings = reference.Settings(4, 12, CLIP, 0.0, **LOCAL, **SERVER, hidden=hidden)
    found = reference.dp_fedavg(clients, 2, settings, "cyclic", np.random.default_rng(0), start)
    moved = reference.flat(found) - reference.flat(start)
    assert 2 * CLIP < np.linalg.norm(moved) < 0.8 * CLIP * (1 + 1.5 + 1.75 + 1.875)  # it is clipped
    ours = reference.flat(layers(last.state.model.parameters, sizes))
    assert np.abs(ours - reference.flat(found)).max() < 1e-5
    test = data.dataset.test
    accuracy = reference.accuracy(found, test.x.reshape(len(test), -1).astype(np.float64), test.y)
    assert abs(accuracy - last.evaluation["accuracy"]) <= 1 / len(test)


def test_with_noise_both_stray_from_it_alike(reference):
    data, task, clients, start, sizes = started("logistic", ())
    strategy = hr.dp_fedavg(
        CLIP, 1.0, 1e-3, **SERVER, sampling=hr.cyclic(12, population=12), local=hr.LocalTraining(**LOCAL)
    )
    silent, loud = (reference.Settings(4, 12, CLIP, noise, **LOCAL, **SERVER) for noise in (0.0, 1.0))

    def model(settings, seed):
        random = np.random.default_rng(seed)
        return reference.flat(reference.dp_fedavg(clients, 2, settings, "cyclic", random, start))

    without = model(silent, 0)
    theirs = [model(loud, seed) - without for seed in range(12)]
    ours = []
    for seed in range(12):
        # Everybody takes part, with one batch: a seed changes the noise, and the first model.
        *_, last = hr.simulate(FirstModel(task), data, strategy, rounds=4, seed=seed)
        ours.append(reference.flat(layers(last.state.model.parameters, sizes)) - without)
    assert np.std(ours) == pytest.approx(np.std(theirs), rel=0.15)  # 12 runs of 54 values and more


class FirstModel(hr.TorchTrainer):
    """Begins with the same model, whatever the seed."""

    def initial(self, seed):
        return super().initial(5)


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
