"""How a run is executed: one object, whose fields are heeded where they are given, or refused there."""

import pickle
from dataclasses import fields, replace
from typing import get_type_hints

import numpy as np
import pytest
from torch import nn

import hedgerow as hr
from hedgerow.client.cohort import CohortTrainer
from hedgerow.types import Deployment, RunOptions, Samples
from hedgerow.types.options import OnGrid, Simulating, Waiting
from tests.support import MeanTrainer, clients

CLIENTS, STRATEGY = clients(4), hr.fedavg(sampling=hr.uniform(4))


def models(results):
    return [result.state.model.parameters.tobytes() for result in results]


def test_every_option_means_something_somewhere_and_has_one_type():
    types = get_type_hints(RunOptions)
    meant = [get_type_hints(kind) for kind in (OnGrid, Waiting, Simulating)]
    assert set().union(*meant) == {field.name for field in fields(RunOptions)}
    for kind in meant:
        assert {n: t for n, t in kind.items() if n != "deployment"}.items() <= types.items()


def test_keywords_are_the_options_by_another_way():
    by_words = models(hr.simulate(MeanTrainer(), CLIENTS, STRATEGY, rounds=2, workers=2))
    options = RunOptions(workers=2, deployment=Deployment.SIMULATED)
    assert models(hr.simulate(MeanTrainer(), CLIENTS, STRATEGY, rounds=2, options=options)) == by_words
    again = hr.simulate(MeanTrainer(), CLIENTS, STRATEGY, rounds=2, options=options, workers=1)
    assert models(again) == by_words


WRONG = {
    "precision is 'half'; it must be one of": {"precision": "half"},
    "engine is 'slurm'; it must be one of 'local', 'ray'": {"engine": "slurm"},
    "workers is 0; it must be a whole number of at least 1": {"workers": 0},
    "workers is 1.5; it must be": {"workers": 1.5},
    "memory_limit is -1; it must be": {"memory_limit": -1},
    "client_timeout is 0; it must be a number above 0": {"client_timeout": 0},
    "timeout is -2; it must be": {"timeout": -2},
    "min_clients is -1; it must be": {"min_clients": -1},
    "gpus is -1; it must be": {"gpus": -1},
    "gpus=1 is for workers on a cluster; choose engine='ray'": {"gpus": 1},
    "the address 'auto' is for workers on a cluster": {"address": "auto"},
    "deployment is 'rael'; it must be one of .*Did you mean 'real'": {"deployment": "rael"},
}


@pytest.mark.parametrize("message", WRONG)
def test_a_value_that_is_not_allowed_is_refused_by_name(message):
    with pytest.raises(ValueError, match=message):
        RunOptions(**WRONG[message])


@pytest.mark.parametrize("given", [{"min_clients": 2}, {"register": {"a": b"key"}}])
def test_a_simulation_refuses_what_is_for_a_grid(given):
    (name,) = given
    with pytest.raises(ValueError, match=f"{name} is .*; it must be left out: simulate heeds only"):
        hr.simulate(MeanTrainer(), CLIENTS, STRATEGY, rounds=1, options=RunOptions(**given))


@pytest.mark.parametrize(
    "given", [{"workers": 2}, {"trainer": "batch"}, {"device": "cuda"}, {"client_timeout": 3.0}]
)
def test_a_grid_refuses_what_is_for_a_simulation(given):
    (name,), options = given, RunOptions(**given)
    layout, state = MeanTrainer().layout, hr.begin(STRATEGY, MeanTrainer().initial(0), MeanTrainer().layout)
    for function, call in {
        "rounds": lambda: hr.rounds(None, STRATEGY, state, layout, num_rounds=1, options=options),
        "train": lambda: hr.train(None, STRATEGY, state.model, layout, num_rounds=1, options=options),
        "server_app": lambda: hr.server_app(STRATEGY, tuple, num_rounds=1, options=options),
    }.items():
        with pytest.raises(ValueError, match=f"{name} is .*; it must be left out: {function} heeds only"):
            call()


def test_a_word_that_is_no_option_is_refused_with_the_nearest():
    with pytest.raises(TypeError, match=r"simulate\(\) has no argument 'worker'; .* Did you mean 'workers'"):
        hr.simulate(MeanTrainer(), CLIENTS, STRATEGY, rounds=1, worker=2)
    with pytest.raises(TypeError, match=r"server_app\(\) has no argument 'masks'; it has"):
        hr.server_app(STRATEGY, tuple, num_rounds=1, masks=False)


@pytest.mark.parametrize("deployment", [Deployment.REAL, Deployment.REHEARSED, "real"])
def test_a_simulation_is_not_real(deployment):
    with pytest.raises(
        ValueError, match=r"deployment is .*; it must be one of 'simulated', 'simulated with masks'"
    ):
        next(hr.simulate(MeanTrainer(), CLIENTS, STRATEGY, rounds=1, deployment=deployment))


def test_the_four_deployments_differ_in_masks_and_seeds_alone():
    assert {d: (d.masks, d.seeded) for d in Deployment} == {
        Deployment.REAL: (True, False),
        Deployment.SIMULATED: (False, True),
        Deployment.MASKED: (True, True),
        Deployment.REHEARSED: (False, False),
    }


@pytest.mark.parametrize("given", [{"trainer": "batch"}, {"device": "cpu"}, {"precision": "bfloat16"}])
def test_a_trainer_that_is_made_already_takes_no_options_of_one(given):
    (name,) = given
    with pytest.raises(ValueError, match=f"{name} is .*, but the task is already a trainer"):
        next(hr.simulate(MeanTrainer(), CLIENTS, STRATEGY, rounds=1, **given))


def data(seed=0):
    random = np.random.default_rng(seed)
    y = random.integers(3, size=60)
    return Samples(random.normal(size=(60, 8)).astype(np.float32) + np.eye(3, 8, dtype=np.float32)[y], y)


def net():
    return nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))


LOCAL = hr.LocalTraining(learning_rate=0.1, epochs=2, batch_size=10, momentum=0.5)


def fit(**made):
    trainer = hr.TorchTrainer(hr.Task(net), **made)
    return trainer.fit(trainer.initial(0), data(), LOCAL, seed=1, round=1, client="a").delta


@pytest.fixture
def float16_on_the_cpu(monkeypatch):
    """torch computes it, slowly: enough to see what a GPU would."""
    from hedgerow.client.torch import precision

    monkeypatch.setitem(precision._CAN, "cpu", precision.PRECISIONS)


@pytest.mark.parametrize(("precision", "apart"), [("bfloat16", 2**-8), ("float16", 2**-11)])
def test_sixteen_bits_are_used_where_they_are_asked_for_and_the_weights_stay_float32(
    precision, apart, float16_on_the_cpu
):
    whole, half = fit(), fit(precision=precision)
    assert half.dtype == np.float32
    error = np.linalg.norm(half - whole) / np.linalg.norm(whole)
    # Roundings of each layer and step add up like a random walk, and none is larger than its format's.
    assert apart / 30 < error < 10 * apart
    assert np.array_equal(half, fit(precision=precision))


def test_gradients_too_small_for_float16_are_not_lost(float16_on_the_cpu):
    def tiny(outputs, y):
        return nn.functional.cross_entropy(outputs, y) * 2.0**-20

    def moved(precision):
        trainer = hr.TorchTrainer(hr.Task(net, loss=tiny), precision=precision)
        local = replace(LOCAL, learning_rate=2.0**18, momentum=0.0)
        return trainer.fit(trainer.initial(0), data(), local, seed=1, round=1, client="a").delta

    whole, half = moved("float32"), moved("float16")
    assert np.linalg.norm(half - whole) < 0.05 * np.linalg.norm(whole)


def test_a_trainer_keeps_its_precision_in_another_process():
    trainer = pickle.loads(pickle.dumps(hr.TorchTrainer(hr.Task(net), precision="bfloat16")))
    assert trainer.precision == "bfloat16"
    cohort = pickle.loads(pickle.dumps(CohortTrainer(hr.Task(net), precision="bfloat16")))
    assert (cohort.precision, cohort.choice.method) == ("bfloat16", "loop")
    assert "float32 only" in cohort.choice.why


def test_what_cannot_be_computed_in_sixteen_bits_is_refused():
    with pytest.raises(
        ValueError, match="precision is 'float16'; on device 'cpu' it must be one of 'float32', 'bf"
    ):
        hr.TorchTrainer(hr.Task(net), precision="float16")
    with pytest.raises(ValueError, match="precision is 'bfloat16'; it must be 'float32' in a batch"):
        CohortTrainer(hr.Task(net), mode="batch", precision="bfloat16")
    strategy = hr.fedavg(sampling=hr.uniform(4), local=replace(LOCAL, clip_samples=1.0))
    with pytest.raises(ValueError, match=r"supports clip_samples, and TorchTrainer .* in float32"):
        next(hr.simulate(hr.Task(net), CLIENTS, strategy, rounds=1, precision="bfloat16"))


def test_one_precision_gives_one_run_with_any_number_of_workers():
    federation = hr.from_function(6, data)

    def run(**options):
        strategy = hr.fedavg(sampling=hr.uniform(3), local=LOCAL)
        return models(hr.simulate(hr.Task(net), federation, strategy, rounds=2, **options))

    low = run(precision="bfloat16")
    assert run(precision="bfloat16", workers=2) == low
    assert run() != low


class Registered(hr.TorchTrainer):
    """What another package registers."""


def test_a_trainer_of_another_package_is_a_name_in_the_registry(monkeypatch):
    from importlib.metadata import EntryPoint

    from hedgerow.client.trainers import TRAINERS

    made = []

    def mine(task, computing):
        made.append(computing.device)
        return Registered(task)

    plugin = EntryPoint("mine", "tests.laws.test_options:mine", TRAINERS.group)
    monkeypatch.setattr(EntryPoint, "load", lambda self: mine)
    monkeypatch.setitem(TRAINERS.__dict__, "_plugins", (plugin,))
    assert TRAINERS.names() == ["loop", "batch", "auto", "onnx", "mine"]
    run = hr.simulate(
        hr.Task(net), hr.from_function(6, data), STRATEGY, rounds=1, trainer="mine", device="cpu"
    )
    assert len(models(run)) == 1
    assert made == ["cpu"]
    with pytest.raises(
        ValueError, match=r"trainer is 'min'; it must be one of .*'mine'. Did you mean 'mine'"
    ):
        next(hr.simulate(hr.Task(net), CLIENTS, STRATEGY, rounds=1, trainer="min"))
