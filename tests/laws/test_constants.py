"""What training does not change is neither averaged, nor bounded, nor moved, and no client sends it."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import hedgerow as hr
from hedgerow.client.cohort import CohortTrainer
from hedgerow.client.cohort.autotune.choice import Choice
from hedgerow.client.task import Task
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.strategies import parse_pipeline, poisson
from hedgerow.types import Layout, LocalTraining, Model, PayloadError, Samples, Tensor
from hedgerow.wire.messages import pack_train, unpack_train
from tests.cohorts import both, check_equal

LOCAL = LocalTraining(learning_rate=0.1, batch_size=8)
TIME, WIDTH = 4, 6


class Causal(nn.Module):
    """Attention with everything in it that stays as it is, and one average that does not."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.frozen = nn.Linear(WIDTH, WIDTH).requires_grad_(False)
        with torch.no_grad():
            self.frozen.weight.mul_(4e-6)
        self.norm = nn.BatchNorm1d(WIDTH).eval()
        self.norm.running_mean.uniform_()
        self.out = nn.Linear(WIDTH, 3)
        hidden = torch.ones(TIME, TIME).triu(1).bool()
        self.register_buffer("mask", torch.zeros(TIME, TIME).masked_fill(hidden, -torch.inf))
        self.register_buffer("soft", torch.zeros(TIME, TIME).masked_fill(hidden, -1e9))
        self.register_buffer("positions", torch.linspace(-1, 1, TIME * WIDTH).view(TIME, WIDTH) / 3)
        self.register_buffer("huge", torch.tensor(1e30))
        self.register_buffer("odd", torch.tensor([torch.nan, -0.0, 1e-45]))
        self.register_buffer("average", torch.zeros(WIDTH))

    def forward(self, x):
        x = x + self.positions + self.frozen(x)
        q, k, v = self.qkv(x).chunk(3, 2)
        scores = q @ k.transpose(1, 2) / WIDTH + self.mask + self.soft
        x = self.norm((scores.softmax(2) @ v).mean(1) + x[:, 0] + 1 / self.huge)
        if self.training:
            with torch.no_grad():
                self.average.mul_(0.9).add_(0.1 * x.mean(0))
        return self.out(x)


class Unchanging(Causal):
    """The same without the average, so that it can be trained side by side, and privately."""

    def __init__(self) -> None:
        super().__init__()
        del self.average
        self.average = torch.zeros(WIDTH)

    def forward(self, x):
        mode, self.training = self.training, False
        try:
            return super().forward(x)
        finally:
            self.training = mode


def samples(number: int) -> Samples:
    rng = np.random.default_rng(number)
    n = 5 + 7 * (number % 3)
    return Samples(rng.normal(size=(n, TIME, WIDTH)).astype(np.float32), rng.integers(3, size=n))


PLAIN = "weight_by_examples()"
MASKED = "chain(weight_by_examples(30), clip(5.0), quantize(8, range=1.0), mask())"
DATA = hr.from_function(12, samples)


def run(factory, pipeline=PLAIN, rounds=2, task=None, **options):
    strategy = hr.fedavg(
        pipeline=parse_pipeline(pipeline), sampling=hr.uniform(11), local=LOCAL, weighted=False
    )
    return list(hr.simulate(task or Task(factory), DATA, strategy, rounds=rounds, seed=3, **options))


@pytest.mark.parametrize(
    ("pipeline", "options"),
    [(PLAIN, {}), (PLAIN, {"workers": 2}), (MASKED, {}), (MASKED, {"masks": True})],
    ids=["plain", "workers", "unmasked", "masked"],
)
def test_no_constant_moves_by_a_bit_and_no_client_fails_over_one(pipeline, options):
    start = TorchTrainer(Task(Causal)).initial(3)
    results = run(Causal, pipeline, **options)
    assert [(dict(r.dropped), r.failed) for r in results] == [({}, "")] * 2
    model = results[-1].state.model
    assert model.constants.tobytes() == start.constants.tobytes()
    assert np.isneginf(model.constants).any()
    assert not np.array_equal(model.parameters, start.parameters)
    first = results[0]
    trainer = TorchTrainer(Task(Causal))
    fits = {
        name: trainer.fit(start, DATA.samples(name), LOCAL, seed=3, round=1, client=name)
        for name in first.cohort
    }
    weights = [min(30, fit.num_examples) for fit in fits.values()]
    mean = np.average([fit.buffers for fit in fits.values()], axis=0, weights=weights)
    assert np.abs(mean).max() > 0.01
    np.testing.assert_allclose(first.state.model.buffers, mean, rtol=0, atol=1e-5)


def test_which_they_are_is_in_the_layout():
    layout = TorchTrainer(Task(Causal)).layout
    assert [t.name for t in layout.buffers] == ["average"]
    assert sorted(t.name for t in layout.constants) == [
        "frozen.bias", "frozen.weight", "huge", "mask", "norm.running_mean", "norm.running_var", "odd",
        "positions", "soft",
    ]  # fmt: skip
    other = TorchTrainer(Task(Causal, constants=["average"])).layout
    assert other.fingerprint != layout.fingerprint


def test_no_client_sends_a_constant():
    class Heavy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(TIME * WIDTH, 5000).requires_grad_(False), nn.Linear(5000, 3)

        def forward(self, x):
            return self.head(self.body(x.flatten(1)))

    (result,) = run(Heavy, rounds=1)
    trained = 4 * (3 * 5000 + 3)
    assert max(result.bytes_up.values()) < trained + 1000
    assert min(result.bytes_down.values()) > trained + 4 * 5000 * (TIME * WIDTH + 1)


def test_clients_train_with_the_constants_that_the_server_has():
    trainer, data = TorchTrainer(Task(Causal)), samples(1)
    model = trainer.initial(3)
    other = Model(model.parameters, model.buffers, trainer.initial(4).constants)
    assert not np.array_equal(other.constants, model.constants)
    one, two = (trainer.fit(m, data, LOCAL, seed=1, round=1, client="a").delta for m in (model, other))
    assert not np.array_equal(one, two)
    again = trainer.fit(model, data, LOCAL, seed=1, round=1, client="a").delta
    assert one.tobytes() == again.tobytes()
    cohort = CohortTrainer(Task(Unchanging), choice=Choice("batch", "", 2, 2))
    start = cohort.initial(3)
    changed = Model(start.parameters, start.buffers, cohort.initial(4).constants)
    some = [("a", samples(1)), ("b", samples(2))]
    for given in (start, changed):
        for name, fit in cohort.fit_many(given, some, LOCAL, seed=1, round=1):
            alone = cohort.fit(given, dict(some)[name], LOCAL, seed=1, round=1, client=name)
            np.testing.assert_allclose(fit.delta, alone.delta, rtol=0, atol=1e-6)


def test_side_by_side_they_count_as_they_do_alone():
    some = [(f"client {k}", samples(k)) for k in range(5)]
    check_equal(*both(Unchanging, some, LOCAL))


@pytest.mark.parametrize("frozen", [0, 2])
def test_a_frozen_linear_layer_however_wide_trains_nobody_side_by_side(frozen):
    def model():
        net = nn.Sequential(
            nn.Flatten(), nn.Linear(TIME * WIDTH, 2000), nn.Linear(2000, 300), nn.Linear(300, 3)
        )
        net[1 + frozen // 2].requires_grad_(False)
        return net

    some = [(f"client {k}", samples(k)) for k in range(5)]
    check_equal(*both(model, some, LOCAL))


class Mixing(nn.Module):
    """Frozen in front; with `mean`, each sample's outputs depend on the others."""

    def __init__(self, mean: bool) -> None:
        super().__init__()
        self.mean, self.body = mean, nn.Linear(TIME * WIDTH, 8).requires_grad_(False)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        x = self.body(x.flatten(1))
        return self.head(x - x.mean(0) if self.mean else x)


def test_a_frozen_layer_neither_forbids_private_samples_nor_hides_a_model_that_mixes_them():
    clipped = replace(LOCAL, clip_samples=1.0)
    private = replace(clipped, sample_noise=1.0, sample_rate=0.5, sample_delta=1e-5)
    for local in (clipped, private):
        trainer = TorchTrainer(Task(lambda: Mixing(False)))
        fit = trainer.fit(trainer.initial(0), samples(1), local, seed=1, round=1, client="a")
        assert np.abs(fit.delta).max() > 0
        trainer = TorchTrainer(Task(lambda: Mixing(True)))
        with pytest.raises(ValueError, match="the model mixes the samples of a batch"):
            trainer.fit(trainer.initial(0), samples(1), local, seed=1, round=1, client="a")


def test_a_private_run_needs_no_other_model_for_them():
    strategy = hr.dp_fedavg(1.0, sampling=poisson(6, population=12), local=LOCAL)
    task = Task(Unchanging)
    results = list(hr.simulate(task, DATA, strategy, rounds=2, seed=3))
    assert not any(r.dropped for r in results)
    start = TorchTrainer(task).initial(3).constants
    assert results[-1].state.model.constants.tobytes() == start.tobytes()
    with pytest.raises(ValueError, match=r"'average'.*constants=\['average'\]"):
        list(hr.simulate(Task(Causal), DATA, strategy, rounds=2, seed=3))


def test_they_are_saved_and_found_again(tmp_path):
    whole = run(Causal, folder=tmp_path / "whole")
    run(Causal, rounds=1, folder=tmp_path / "parts")
    resumed = run(Causal, folder=tmp_path / "parts")
    one, other = (r[-1].state.model for r in (whole, resumed))
    for name in ("parameters", "buffers", "constants"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes()
    module = Causal()
    module.load_state_dict(load_file(tmp_path / "whole" / "model.safetensors"), strict=True)
    assert torch.equal(module.mask, Causal().mask)


class Queue(nn.Module):
    """Starts at random and is learned, which nobody can see before it happens."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.teacher = nn.Linear(WIDTH, 3), nn.Linear(WIDTH, 3).requires_grad_(False)
        self.register_buffer("queue", torch.randn(2, WIDTH))

    def forward(self, x):
        x = x[:, 0]
        if self.training:
            with torch.no_grad():
                self.queue.copy_(x[:1].expand(2, -1))
                self.teacher.weight.lerp_(self.linear.weight, 0.1)
        return self.linear(x) + 0 * self.teacher(x)


def test_a_constant_that_training_changes_is_refused_by_name_with_the_remedy():
    trainer, data = TorchTrainer(Task(Queue)), samples(1)
    with pytest.raises(
        ValueError,
        match=r"client 'a', round 1: training changes 'queue', 'teacher.weight'.*statistics=\['queue'",
    ):
        trainer.fit(trainer.initial(0), data, LOCAL, seed=1, round=1, client="a")
    half = TorchTrainer(Task(Queue, statistics=["queue"]))
    with pytest.raises(ValueError, match=r"'teacher.weight'"):
        half.fit(half.initial(0), data, LOCAL, seed=1, round=1, client="a")
    result = run(Queue, task=Task(Queue, statistics=["queue", "teacher.*"]), rounds=1)[0]
    assert not result.dropped
    assert len(result.state.model.buffers) == 2 * WIDTH + 3 * WIDTH + 3
    with warnings.catch_warnings(action="ignore"):
        pinned = CohortTrainer(Task(Queue), choice=Choice("loop", ""))
        fits = pinned.fit_many(pinned.initial(0), [("a", data)], LOCAL, seed=1, round=1)
    assert "'queue'" in str(dict(fits)["a"])


def test_a_declaration_that_names_nothing_or_both_is_refused():
    with pytest.raises(
        ValueError, match=r"statistics has 'que', which names no .*has 'queue', 'teacher.weight'"
    ):
        TorchTrainer(Task(Queue, statistics=["que"]))
    with pytest.raises(ValueError, match=r"'queue' is in statistics and in constants"):
        TorchTrainer(Task(Queue, statistics=["queue"], constants=["q*"]))
    with pytest.raises(ValueError, match=r"statistics is 'queue'; it must be a list"):
        Task(Queue, statistics="queue")


def test_a_request_without_its_constants_is_refused():
    layout, model = Layout((Tensor("a", (2,)),), (), (Tensor("mask", (3,)),)), Model(np.zeros(2, np.float32))
    mask = np.array([-np.inf, np.nan, -0.0], np.float32)
    content = pack_train(replace(model, constants=mask), layout, round=1, seed=0)
    assert unpack_train(content, layout).model.constants.tobytes() == mask.tobytes()
    content = pack_train(replace(model, constants=mask[:2]), layout, round=1, seed=0)
    with pytest.raises(PayloadError, match=r"'constants' is float32 \(2,\); it must be float32 \(3,\)"):
        unpack_train(content, layout)


def test_spectral_norms_vectors_are_statistics():
    layout = TorchTrainer(Task(lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(4, 3)))).layout
    assert [t.name for t in layout.buffers] == [
        "parametrizations.weight.0._u",
        "parametrizations.weight.0._v",
    ]
    assert not layout.constants
