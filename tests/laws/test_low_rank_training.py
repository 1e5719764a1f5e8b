"""Low-rank layers in training: side by side, with clipped samples, and in a recipe and on its devices."""

import io
import json

import numpy as np
import pytest
import torch

import hedgerow as hr
from hedgerow.client.cohort import CohortTrainer
from hedgerow.client.torch.exported import exported
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.datasets import load_dataset
from hedgerow.experiments.config.errors import ConfigError
from hedgerow.experiments.config.recipe import load, load_table
from hedgerow.experiments.runs.announce import announcement_of
from hedgerow.experiments.runs.pretraining import starting_model
from hedgerow.experiments.runs.run import run_experiment
from hedgerow.models.without_torch import forward
from hedgerow.node.described_trainer import described_trainer
from hedgerow.promotion.tensors import named_tensors
from hedgerow.recipe.announcement import understand
from hedgerow.types import LocalTraining
from tests.cohorts import both, check_equal
from tests.laws.test_low_rank import MODELS, dense
from tests.tuned_models import LOCAL, samples


def some_clients(shape):
    return [(f"client {k}", samples(shape, 5 + 3 * k, k)) for k in range(5)]


@pytest.mark.parametrize(("make", "shape"), MODELS)
def test_clients_side_by_side_get_what_each_gets_alone(make, shape):
    small = hr.low_rank(make, 2)
    trainer = CohortTrainer(hr.Task(small), mode="batch", batch_clients=4)
    dict(trainer.fit_many(trainer.initial(1), some_clients(shape), LOCAL, seed=3, round=2))
    assert trainer.choice.method == "batch"
    check_equal(*both(small, some_clients(shape), LOCAL))


def test_samples_are_clipped_and_noised_in_both_factors():
    noised = LocalTraining(
        batch_size=4, clip_samples=0.5, sample_noise=1.0, sample_rate=0.5, sample_delta=1e-5
    )
    trainer = TorchTrainer(hr.Task(hr.low_rank(dense, 2)))
    start = trainer.initial(0)
    fit = trainer.fit(start, samples((5,), 9), noised, seed=1, round=1, client="a", seeded_noise=True)
    assert (fit.delta != 0).all()


TABLE = {
    "name": "small",
    "rounds": 2,
    "data": {"name": "fashion-mnist", "partition": {"name": "iid", "clients": 100}},
    "model": {"name": "mlp-2nn", "hidden": 16, "low_rank": 2},
    "strategy": {"clients_per_round": 3},
}
VALUES = 2 * (784 + 16) + 16 + 2 * (16 + 16) + 16 + 16 * 10 + 10


def test_a_recipe_trains_and_sends_the_factors_and_a_device_builds_the_same_model(tmp_path):
    small = load_table(TABLE, ["model.low_rank=2"])
    run = run_experiment(small, tmp_path / "run")
    assert load(tmp_path / "run") == small
    for line in run.rounds():
        assert not line["dropped"]
        assert all(4 * VALUES < sent["bytes_up"] < 4 * VALUES + 1000 for sent in line["clients"].values())
    trainer = TorchTrainer(small.task())
    assert trainer.layout.dimension == VALUES
    told = announcement_of(small, trainer.layout, "0" * 32).description
    assert json.loads(told)["task"]["low_rank"] == {"rank": 2, "layers": None}
    device = described_trainer(understand(told))
    assert device.initial(small.seed).parameters.tobytes() == trainer.initial(small.seed).parameters.tobytes()
    named = load_table(TABLE, ['model.low_rank_layers=["hidden1"]'])
    layout = TorchTrainer(named.task()).layout
    assert (
        described_trainer(understand(announcement_of(named, layout, "0" * 32).description)).layout == layout
    )


def test_a_device_without_torch_predicts_with_the_product_of_the_factors():
    small = load_table(TABLE)
    trainer = TorchTrainer(small.task())
    model, x = trainer.initial(1), load_dataset("fashion-mnist").test.x[:9]
    plain = forward("mlp-2nn", named_tensors(model, trainer.layout))
    np.testing.assert_allclose(plain(x), trainer.outputs(model, x), rtol=1e-5, atol=1e-6)


def test_a_program_without_the_code_has_the_factors_too():
    small = hr.low_rank(dense, 2)
    trainer, data = TorchTrainer(hr.Task(small)), samples((5,), 6)
    model = trainer.initial(0)
    program = torch.export.load(io.BytesIO(exported(small, model, (5,), {}))).module()
    with torch.no_grad():
        found = program(torch.from_numpy(data.x))
    np.testing.assert_allclose(found, trainer.outputs(model, data.x), rtol=1e-5, atol=1e-6)


def test_the_server_pretrains_the_model_with_its_low_rank_layers(tmp_path, monkeypatch):
    monkeypatch.setenv("HEDGEROW_DATA", str(tmp_path))
    tuned = load_table(TABLE, ["pretraining.share=0.1"])
    trainer, start = TorchTrainer(tuned.task()), starting_model(tuned)
    test = tuned.dataset().test
    assert len(start.parameters) == VALUES
    assert trainer.evaluate(start, test)["loss"] < trainer.evaluate(trainer.initial(tuned.seed), test)["loss"]


WRONG = {
    "model.low_rank=0": r"model\.low_rank = 0: it must be a whole number of at least 1",
    "model.low_rnk=2": r"model\.low_rnk = 2: there is no such key.*'low_rank'",
    "model.lora.rank=2": r"model\.low_rank = 2: it must be left out beside \[model\.lora\]",
    'model.low_rank_layers="x"': r"model\.low_rank_layers .* it must be a list",
}


@pytest.mark.parametrize("override", WRONG)
def test_a_mistake_is_told_at_its_place(override):
    with pytest.raises(ConfigError, match=WRONG[override]):
        load_table(TABLE, [override])


def test_layers_without_a_rank_and_a_rank_that_makes_nothing_smaller_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"low_rank_layers .*: it must be given with low_rank"):
        load_table(TABLE, ["model.low_rank=", 'model.low_rank_layers=["hidden1"]'])
    with pytest.raises(ValueError, match="rank is 99; it must be at most 15"):
        run_experiment(load_table(TABLE, ["model.low_rank=99"]), tmp_path / "run")
