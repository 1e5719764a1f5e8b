"""A last layer from sums over all clients' samples: the same as from all samples together, in one round."""

import io
import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

import hedgerow as hr
from hedgerow.client.one_shot import ONE_STEP, one_shot_task
from hedgerow.client.torch.exported import exported
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.experiments.config.errors import ConfigError
from hedgerow.experiments.config.recipe import load, load_table
from hedgerow.experiments.runs.announce import announcement_of
from hedgerow.experiments.runs.run import run_experiment
from hedgerow.node.described_trainer import described_trainer
from hedgerow.promotion.tensors import named_tensors
from hedgerow.recipe.announcement import understand
from hedgerow.types import Samples

CLASSES, CLIENTS = 3, 8


class Net(nn.Module):
    """Features with a norm and dropout, which must not depend on the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Dropout(0.5))
        self.head = nn.Linear(9, CLASSES)

    def forward(self, x):
        return self.head(self.body(x))


def net() -> nn.Module:
    torch.manual_seed(0)
    return Net()


def samples(client: int) -> Samples:
    """Clients of unlike sizes and unlike classes."""
    rng = np.random.default_rng(client)
    n = 3 + 7 * client
    y = rng.choice(CLASSES, n, p=np.roll([0.7, 0.2, 0.1], client))
    return Samples((rng.normal(size=(n, 4)) + y[:, None]).astype(np.float32), y)


def together(clients: range = range(CLIENTS)) -> tuple[np.ndarray, np.ndarray]:
    """All features with a 1, in float64, and all targets as 0 and 1."""
    parts = [samples(k) for k in clients]
    with torch.no_grad():
        features = net().eval().body(torch.from_numpy(np.concatenate([p.x for p in parts]))).double().numpy()
    x = np.hstack([features, np.ones((len(features), 1))])
    return x, np.eye(CLASSES)[np.concatenate([p.y for p in parts])]


def released(task, strategy, **options):
    (result,) = hr.simulate(
        task, hr.from_function(CLIENTS, samples), strategy, rounds=1, test=samples(5), **options
    )
    assert not result.dropped
    assert not result.failed
    return result


def weights(task, model) -> np.ndarray:
    """Of the plain model's last layer, and its offset."""
    merged = task.model.merge(named_tensors(model, TorchTrainer(task).layout))
    plain = net()
    plain.load_state_dict(merged, strict=True)
    return np.vstack([plain.head.weight.detach().numpy().T, plain.head.bias.detach().numpy()])


EVERYONE = {"sampling": hr.uniform(CLIENTS), "local": ONE_STEP}


@pytest.mark.parametrize("strength", [0.01, 10.0])
def test_ridge_regression_is_that_of_all_samples_together(strength):
    task = hr.ridge(net, strength)
    result = released(task, hr.fedavg(**EVERYONE))
    x, y = together()
    exact = np.linalg.solve(x.T @ x + strength * len(x) * np.eye(x.shape[1]), x.T @ y)
    found = weights(task, result.state.model)
    assert np.linalg.norm(found - exact) <= 1e-5 * np.linalg.norm(exact)
    sent = 10 * 11 // 2 + 10 * CLASSES
    assert {4 * sent < size < 4 * sent + 1000 for size in result.bytes_up.values()} == {True}
    # What the server evaluates is the plain model with these weights.
    data = samples(5)
    plain = net().eval()
    plain.load_state_dict(task.model.merge(named_tensors(result.state.model, TorchTrainer(task).layout)))
    with torch.no_grad():
        right = plain(torch.from_numpy(data.x)).argmax(1).numpy() == data.y
    assert result.evaluation["accuracy"] == pytest.approx(right.mean())
    assert right.mean() > 0.5


def test_class_means_are_those_of_all_samples_and_the_nearest_one_wins():
    task = hr.class_means(net)
    result = released(task, hr.fedavg(**EVERYONE))
    x, y = together()
    means = (x.T @ y / y.sum(0))[:-1]
    found = weights(task, result.state.model)
    np.testing.assert_allclose(found[:-1], means, rtol=1e-5, atol=1e-6)
    nearest = np.square(x[:, :-1, None] - means).sum(1).argmin(1)
    assert ((x @ found).argmax(1) == nearest).all()


@pytest.mark.parametrize("make", [hr.ridge, hr.class_means])
def test_before_the_round_nothing_is_known_and_a_class_that_nobody_has_is_never_predicted(make):
    task = make(net)
    trainer = TorchTrainer(task)
    start = trainer.initial(0)
    assert np.isfinite(trainer.evaluate(start, samples(3))["loss"])
    some = Samples(samples(3).x, np.zeros(len(samples(3)), np.int64))
    fit = trainer.fit(start, some, ONE_STEP, seed=0, round=1, client="a")
    model = type(start)(fit.delta, fit.buffers, start.constants)
    assert (trainer.outputs(model, samples(3).x).argmax(1) == 0).all()


def test_under_a_mask_the_sums_are_the_same_to_the_rings_rounding():
    task, norm = hr.ridge(net), 1000.0
    plain = released(task, hr.fedavg(**EVERYONE)).state.model.parameters
    masked = hr.secure_fedavg(
        clip_norm=norm, bits=16, value_range=50.0, min_clients=5, dropout=0.0, **EVERYONE
    )
    in_clear = released(task, masked).state.model.parameters
    assert released(task, masked, masks=True).state.model.parameters.tobytes() == in_clear.tobytes()
    step = 50.0 / (2**15 - 1)
    assert 0 < np.abs(in_clear - plain).max() <= step
    assert np.abs(plain).max() < 50


def test_with_privacy_a_client_adds_at_most_the_norm_and_the_noise_is_that_of_the_ledger(tmp_path):
    task, norm, multiplier, cohort = hr.ridge(wide), 2.0, 1.5, 6
    strategy = hr.dp_fedavg(
        norm, multiplier, delta=1e-3, local=ONE_STEP, sampling=hr.poisson(cohort, population=CLIENTS)
    )
    result = released(task, strategy, folder=tmp_path)
    trainer = TorchTrainer(task)
    start, total = trainer.initial(0), 0
    for name in result.cohort:
        own = samples(int(name.rpartition("-")[2]))
        delta = trainer.fit(start, own, ONE_STEP, seed=0, round=1, client=name).delta.astype(np.float64)
        assert np.linalg.norm(delta) > norm, "the clip is at work, and its norm the sensitivity"
        total += delta * norm / np.linalg.norm(delta)
    noise = result.state.model.parameters * cohort - total
    assert len(noise) == 25 * 26 // 2 + 25 * CLASSES
    ratio = noise.std() / (norm * multiplier)
    assert abs(ratio - 1) < 0.15, "of 400 values the spread of it is 0.035: 2/3 and 3/2 would be far outside"
    (line,) = (tmp_path / "privacy.jsonl").read_text().splitlines()
    assert json.loads(line)["round"] == 1
    assert result.epsilon > 0


def wide() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 24), nn.ReLU(), nn.Linear(24, CLASSES))


def test_a_program_without_the_code_computes_the_weights_itself() -> None:
    task = hr.ridge(net)
    trainer, data = TorchTrainer(task), samples(3)
    start = trainer.initial(0)
    fit = trainer.fit(start, data, ONE_STEP, seed=0, round=1, client="a")
    model = type(start)(fit.delta, fit.buffers, start.constants)
    program = torch.export.load(io.BytesIO(exported(task.model, model, (4,), {}))).module()
    with torch.no_grad():
        found = program(torch.from_numpy(data.x))
    np.testing.assert_allclose(found, trainer.outputs(model, data.x), rtol=1e-5, atol=1e-5)


def test_weights_are_computed_anew_when_the_sums_change() -> None:
    module, x = hr.ridge(net).model().eval(), torch.from_numpy(samples(2).x)
    first = module(x)
    with torch.no_grad():
        module.head.moments[:, 0] += 1.0
        module.head.gram += 1.0
    assert not torch.equal(module(x), first)
    module.load_state_dict(hr.ridge(net).model().state_dict())
    assert torch.equal(module(x), first)


WRONG = {
    r"strength is 0; it must be a number above 0": lambda: hr.ridge(net, 0),
    r"last layer '1' is a Softmax": hr.ridge(lambda: nn.Sequential(nn.Linear(3, 2), nn.Softmax(1))).model,
    r"last layer '' has no offset": hr.class_means(lambda: nn.Linear(3, 2, bias=False)).model,
    r"gave 3; it must give": hr.ridge(lambda: 3).model,
}


@pytest.mark.parametrize("message", WRONG)
def test_what_cannot_be_computed_is_refused_in_one_sentence(message):
    with pytest.raises(ValueError, match=message):
        WRONG[message]()


TABLE = {
    "name": "once",
    "rounds": 1,
    "data": {"name": "fashion-mnist", "partition": {"name": "iid", "clients": 30}},
    "model": {"name": "mlp-2nn", "hidden": 40, "one_shot": "ridge", "ridge": 0.02},
    "pretraining": {"share": 0.1, "classes": [0, 1, 2, 3, 4], "local": {"epochs": 3}},
    "strategy": {
        "name": "secure_fedavg", "clients_per_round": 30, "value_range": 100.0, "clip_norm": 1e4, "bits": 16,
    },
    "local": {"learning_rate": 1.0, "batch_size": 0},
}  # fmt: skip


def test_a_recipe_computes_the_last_layer_of_a_pretrained_model_under_a_mask(tmp_path, monkeypatch):
    monkeypatch.setenv("HEDGEROW_DATA", str(tmp_path / "cache"))
    once = load_table(TABLE)
    run = run_experiment(once, tmp_path / "run")
    assert load(tmp_path / "run") == once
    (line,) = run.rounds()
    assert not line["dropped"]
    assert line["evaluation"]["accuracy"] > 0.6
    task = once.task()
    layout = TorchTrainer(task).layout
    plain = once.factory()()
    plain.load_state_dict(task.model.merge(load_file(run.model)), strict=True)
    told = announcement_of(once, layout, "0" * 32).description
    assert json.loads(told)["task"]["one_shot"] == {"head": "ridge", "strength": 0.02}
    assert described_trainer(understand(told)).layout == layout


MISTAKES = {
    'model.one_shot="lasso"': r"model\.one_shot = \"lasso\": it must be one of 'ridge', 'class_means'",
    'model.one_shot="class_means"': r"model\.ridge = 0.02: it must be given with one_shot = \"ridge\"",
    "model.ridge=-1": r"model\.ridge = -1: it must be a number above 0",
    "model.lora.rank=2": r"model\.one_shot = \"ridge\": it must be left out beside \[model\.lora\]",
}


@pytest.mark.parametrize("override", MISTAKES)
def test_a_mistake_is_told_at_its_place(override):
    with pytest.raises(ConfigError, match=MISTAKES[override]):
        load_table(TABLE, [override])


def test_more_than_one_step_and_numbers_to_predict_are_refused():
    with pytest.raises(
        ValueError, match=r"\[local\] must have learning_rate = 1.0, batch_size = 0 and nothing"
    ):
        load_table(TABLE, ["local.epochs=2"]).task()
    with pytest.raises(
        ValueError, match="must be left out: its sums are of classes, and this is a regression"
    ):
        one_shot_task("regression", net)
