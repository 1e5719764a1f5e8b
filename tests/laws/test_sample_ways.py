"""Opacus computes the gradients of samples where it can, and what it cannot is computed as without it."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from opacus.layers import DPGRU, DPLSTM, DPMultiheadAttention
from torch import nn
from torch.nn import functional as F

import hedgerow as hr
from hedgerow.client import account
from hedgerow.client.cohort.trainer import CohortTrainer
from hedgerow.client.task import Task
from hedgerow.client.torch import with_opacus
from hedgerow.client.torch.layers import CannotSplit
from hedgerow.client.torch.module import FlatModule
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.models import build
from hedgerow.types import LocalTraining, Samples

CLIPPED = LocalTraining(learning_rate=0.5, batch_size=5, clip_samples=0.7)
NOISY = replace(CLIPPED, sample_noise=1e-6, sample_rate=0.5, sample_delta=1e-5)
RESULTS = json.loads((Path(__file__).parents[2] / "benchmarks/clipping/results.json").read_text())


class Words(nn.Module):
    """Five words, read in turn or side by side; `first` says whether samples come before instants."""

    def __init__(self, cell, *, first=True):
        super().__init__()
        self.embed, self.cell, self.last, self.first = nn.Embedding(4, 8), cell(), nn.Linear(8, 2), first

    def forward(self, x):
        h = self.embed(x if self.first else x.T)
        h = self.cell(h, h, h)[0] if isinstance(self.cell, DPMultiheadAttention) else self.cell(h)[0]
        return self.last(h.sum(1 if self.first else 0))


class Free(nn.Module):
    """Two linear layers, and what `call` makes of their weights."""

    def __init__(self, call):
        super().__init__()
        self.one, self.two, self.call = nn.Linear(20, 20), nn.Linear(20, 2), call

    def forward(self, x):
        return self.call(self, x)


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.full((20,), 0.5))

    def forward(self, x):
        return x * self.scale


def tied():
    net = nn.Sequential(nn.Linear(20, 20), nn.Tanh(), nn.Linear(20, 20), nn.Linear(20, 2))
    net[2].weight = net[0].weight
    return net


def convolutions():
    net = nn.Sequential(
        nn.Unflatten(1, (1, 4, 5)), nn.Conv2d(1, 6, 3, padding=1), nn.GroupNorm(2, 6), nn.ReLU(inplace=True),
        nn.Conv2d(6, 4, (2, 3), stride=2, padding=(1, 2), dilation=(2, 1), groups=2, bias=False), nn.Tanh(),
        nn.Flatten(),
    )  # fmt: skip
    width = net(torch.zeros(1, 20)).shape[1]
    return nn.Sequential(net, nn.Linear(width, 2))


TAKEN = {
    "linear": lambda: nn.Sequential(nn.Linear(20, 16), nn.ReLU(inplace=True), nn.Linear(16, 2, bias=False)),
    "a part that is frozen": lambda: nn.Sequential(
        nn.Linear(20, 16).requires_grad_(False), nn.Tanh(), nn.Linear(16, 2)
    ),
    "convolutions": convolutions,
    "LayerNorm": lambda: nn.Sequential(nn.Linear(20, 16), nn.LayerNorm(16), nn.Linear(16, 2)),
    "a sequence": lambda: nn.Sequential(
        nn.Unflatten(1, (5, 4)), nn.Linear(4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(15, 2)
    ),
    "a layer used twice": lambda: Free(lambda m, x: m.two(torch.tanh(m.one(torch.tanh(m.one(x)))))),
    "DPLSTM": lambda: Words(lambda: DPLSTM(8, 8, batch_first=True)),
    "DPGRU, instants first": lambda: Words(lambda: DPGRU(8, 8), first=False),
    "attention": lambda: Words(lambda: DPMultiheadAttention(8, 2, batch_first=True)),
    "attention, instants first": lambda: Words(lambda: DPMultiheadAttention(8, 2), first=False),
}
LEFT = {
    "dropout": lambda: nn.Sequential(nn.Linear(20, 16), nn.Dropout(0.5), nn.Linear(16, 2)),
    "a function that draws": lambda: Free(lambda m, x: m.two(F.dropout(m.one(x)))),
    "a weight of another layer": lambda: Free(lambda m, x: m.two(m.one(F.linear(x, m.one.weight)))),
    "two layers with one weight": tied,
    "a layer of one's own": lambda: nn.Sequential(Own(), nn.Linear(20, 2)),
    "a convolution with edges of its own": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 20)), nn.Conv1d(1, 2, 3, padding=1, padding_mode="circular"), nn.Flatten(),
        nn.Linear(40, 2),
    ),
}  # fmt: skip


class Clients:
    names = ("a",)

    def samples(self, name):
        return data("")


def data(kind: str, n: int = 11) -> Samples:
    random = np.random.default_rng(3)
    words = kind.startswith(("DP", "attention"))
    x = random.integers(4, size=(n, 5)) if words else 3 * random.normal(size=(n, 20)).astype(np.float32)
    return Samples(x, random.integers(2, size=n))


def fit(factory, samples, local, by):
    trainer = TorchTrainer(Task(factory))
    local = replace(local, sample_gradients=by)
    more = {"seeded_noise": True} if local.sample_noise else {}
    return trainer.fit(trainer.initial(1), samples, local, seed=5, round=1, client="a", **more)


@pytest.mark.parametrize("local", [CLIPPED, NOISY], ids=["mean", "sum"])
@pytest.mark.parametrize("kind", TAKEN)
def test_by_opacus_a_fit_is_the_same_to_rounding(kind, local):
    """Five samples of a batch, as many as instants: which dimension counts samples is not a guess."""
    ours, theirs, again = (fit(TAKEN[kind], data(kind), local, by) for by in ("hedgerow", "opacus", "opacus"))
    assert (ours.sample_gradients, theirs.sample_gradients) == ("hedgerow", "opacus")
    np.testing.assert_allclose(theirs.delta, ours.delta, atol=3e-5)
    assert np.array_equal(theirs.delta, again.delta)
    assert np.linalg.norm(ours.delta) > 0.01


@pytest.mark.parametrize("local", [CLIPPED, NOISY], ids=["mean", "sum"])
@pytest.mark.parametrize("kind", LEFT)
def test_what_opacus_cannot_is_computed_as_without_it_bit_for_bit(kind, local):
    ours, theirs = (fit(LEFT[kind], data(kind), local, by) for by in ("hedgerow", "opacus"))
    assert theirs.sample_gradients == "hedgerow"
    assert np.array_equal(theirs.delta, ours.delta)


def draws_if_large(m, x):
    return m.two(F.dropout(m.one(x)) if x.abs().max() > 100 else m.one(x))


def test_a_draw_that_made_up_samples_do_not_show_is_still_each_samples_own():
    samples = data("")
    samples = Samples(samples.x * 100, samples.y)
    ours, theirs = (fit(lambda: Free(draws_if_large), samples, NOISY, by) for by in ("hedgerow", "opacus"))
    assert theirs.sample_gradients == "opacus"  # and falls back in each step
    np.testing.assert_allclose(theirs.delta, ours.delta, atol=3e-5)


def fails_if_large(m, x):
    if x.abs().max() > 100 and len(x) > 1:
        raise RuntimeError("too large to be among others")
    return m.two(m.one(x))


@pytest.mark.parametrize("call", [draws_if_large, fails_if_large])
def test_one_sample_that_takes_another_way_moves_the_sum_by_the_clip_at_most(call):
    samples = data("", 100)
    samples.x[17] *= 1e3
    trainer = TorchTrainer(Task(lambda: Free(call)))
    gradients = trainer._way(samples, replace(NOISY, sample_gradients="opacus"), "").gradients

    def total(kept):
        x, y = (torch.from_numpy(v[kept]) for v in (samples.x, samples.y))
        return gradients.fixed_sum(x, y, 1.0, lambda k: int(kept[k])).double()

    every = np.arange(100)
    moved = (total(every) - total(np.delete(every, 17))).norm().item() / 2**30
    assert 0.9 < moved < 1 + 1e-5  # the others are in other batches: their float32 has other last bits


def test_a_sample_that_is_not_finite_counts_for_nothing():
    samples = data("")
    broken = Samples(
        np.concatenate([samples.x, np.full((1, 20), np.inf, np.float32)]), np.append(samples.y, 0)
    )
    trainer = TorchTrainer(Task(TAKEN["linear"]))
    gradients = trainer._way(samples, replace(NOISY, sample_gradients="opacus"), "").gradients
    sums = [
        gradients.fixed_sum(torch.from_numpy(s.x), torch.from_numpy(s.y), 1.0, lambda place: 0)
        for s in (samples, broken)
    ]
    np.testing.assert_allclose(sums[0], sums[1], atol=1e-5 * 2**30)


@pytest.mark.parametrize("name", RESULTS["models"])
def test_auto_takes_what_was_measured_to_be_faster(name):
    measured = RESULTS["models"][name]
    for of in ("mean", "sum"):
        hedgerow, opacus = (measured["ms"][f"{by}, {of}"] for by in ("hedgerow", "opacus"))
        chosen, other = (opacus, hedgerow) if measured["auto"] == "opacus" else (hedgerow, opacus)
        assert chosen < 1.15 * other


@pytest.mark.parametrize(("name", "by"), [("mlp-2nn", "opacus"), ("cnn-1d", "hedgerow")])
def test_auto_is_decided_by_layers_and_by_what_is_installed(monkeypatch, name, by):
    factory = build(name, input_shape=(4, 32), num_classes=2)
    samples = Samples(np.zeros((4, 4, 32), np.float32), np.zeros(4, np.int64))
    ways = [TorchTrainer(Task(factory))._way(samples, CLIPPED, "") for _ in range(2)]
    assert [way.name for way in ways] == [by, by]
    monkeypatch.setattr(with_opacus, "find_spec", lambda name: None)
    assert TorchTrainer(Task(factory))._way(samples, CLIPPED, "").name == "hedgerow"


def test_where_it_is_not_installed_opacus_is_refused_by_name(monkeypatch):
    strategy = hr.fedavg(sampling=hr.uniform(1), local=replace(CLIPPED, sample_gradients="opacus"))
    monkeypatch.setattr(with_opacus, "find_spec", lambda name: None)
    with pytest.raises(
        ValueError, match=r"needs a trainer that supports opacus.*pip install \"hedgerow\[opacus\]\""
    ):
        hr.client_app(TorchTrainer(Task(TAKEN["linear"])), Clients(), strategy)
    with pytest.raises(ValueError, match="sample_gradients is 'opacus'; it goes with clip_samples"):
        LocalTraining(sample_gradients="opacus")
    with pytest.raises(ValueError, match="sample_gradients is 'ghost'; it must be one of"):
        LocalTraining(clip_samples=1.0, sample_gradients="ghost")


def test_several_clients_at_once_are_not_trained_by_opacus_in_silence():
    local = replace(CLIPPED, sample_gradients="opacus")
    clients = [("a", data("")), ("b", data(""))]
    auto, batch = (CohortTrainer(Task(TAKEN["linear"]), mode=mode) for mode in ("auto", "batch"))
    model = auto.initial(0)
    assert auto.choose(model, clients, local, seed=1, round=1).method == "loop"
    with pytest.raises(ValueError, match="mode is 'batch', but sample_gradients"):
        batch.choose(model, clients, local, seed=1, round=1)


def test_the_account_says_who_computed_and_counts_the_same(tmp_path):
    local, found = replace(NOISY, sample_noise=2.0), []
    for by in ("hedgerow", "opacus"):
        strategy = hr.fedavg(sampling=hr.uniform(1), local=replace(local, sample_gradients=by))
        folder = tmp_path / by
        next(hr.simulate(Task(TAKEN["linear"]), Clients(), strategy, rounds=1, folder=folder))
        (file,) = folder.rglob("privacy.jsonl")
        found.append(json.loads(file.read_text()))
        assert found[-1].pop("sample_gradients") == by
        assert found[-1].pop("release")
        assert found[-1].pop("sha256"), "of a line with its own release"
    assert found[0] == found[1]
    assert account.spent(local, 3) == account.spent(replace(local, sample_gradients="opacus"), 3)


def test_opacus_is_not_imported_unless_clipped_samples_ask_for_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "opacus", None)  # whoever imports it fails
    monkeypatch.setattr(with_opacus, "find_spec", lambda name: name)
    assert "opacus" in TorchTrainer(Task(TAKEN["linear"])).supports
    for local in (LocalTraining(), replace(CLIPPED, sample_gradients="hedgerow")):
        trainer = TorchTrainer(Task(TAKEN["linear"]))
        trainer.fit(trainer.initial(1), data(""), local, seed=5, round=1, client="a")
    with pytest.raises(ImportError, match="opacus"):
        trainer.fit(trainer.initial(1), data(""), CLIPPED, seed=5, round=1, client="a")


def test_inputs_that_are_written_over_are_seen():
    def writes(m, x):
        h = x * 1.0
        out = m.one(h)
        h.zero_()
        return m.two(out)

    net = FlatModule(Free(writes), torch.device("cpu"))
    layers = with_opacus.opacus_layers(net, F.cross_entropy)
    with pytest.raises(CannotSplit, match="'one' are overwritten"):
        layers.split(torch.ones(3, 20), torch.zeros(3, dtype=torch.int64))
