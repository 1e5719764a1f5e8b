# ruff: noqa: NPY002
"""With noise for each sample, what a model draws for a sample is that sample's own."""

import copy
import random
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hedgerow.client.task import Task
from hedgerow.client.torch import private as torch_private
from hedgerow.client.torch.samples import CLIP_UNITS
from hedgerow.client.torch.settings import num_threads
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.types import LocalTraining, Samples

PRIVATE = LocalTraining(
    learning_rate=1.0, batch_size=200, clip_samples=1.0, sample_noise=1.0, sample_rate=1.0, sample_delta=1e-5
)


class Drawing(nn.Module):
    """Two layers, and between them what `draw` makes of the hidden values."""

    def __init__(self, draw):
        super().__init__()
        self.first, self.draw, self.last = nn.Linear(20, 16), draw, nn.Linear(16, 2)

    def forward(self, x):
        return self.last(self.draw(torch.relu(self.first(x))))


DRAWS = {
    "Dropout": lambda: nn.Dropout(0.5),
    "a function": lambda: F.dropout,
    "AlphaDropout": lambda: nn.AlphaDropout(0.5),
    "feature dropout": lambda: lambda h: F.dropout1d(h.view(-1, 4, 4), 0.5).flatten(1),
    "torch": lambda: lambda h: h * (torch.rand_like(h) > 0.5) * 2,
    "torch, one number": lambda: lambda h: h * (0.1 + 2 * torch.rand(())),
    "numpy": lambda: lambda h: h * torch.from_numpy(np.random.binomial(1, 0.5, h.shape).astype(np.float32)),
    "random": lambda: lambda h: h * random.choice([0.0, 2.0]),
    "attention": lambda: nn.Sequential(
        nn.Unflatten(1, (4, 4)), nn.TransformerEncoderLayer(4, 2, 8, 0.5, batch_first=True), nn.Flatten()
    ),
}


def data(n, seed=0):
    random = np.random.default_rng(seed)
    return Samples(random.normal(size=(n, 20)).astype(np.float32), random.integers(2, size=n))


def fit(draw, samples, **options):
    trainer = TorchTrainer(Task(lambda: Drawing(draw())))
    model = trainer.initial(1)
    return trainer.fit(model, samples, PRIVATE, seed=5, round=1, client="a", **options).delta.astype(float)


@pytest.mark.parametrize(("kind", "place"), [*((kind, 0) for kind in DRAWS), ("Dropout", 60)])
def test_one_sample_more_moves_a_sum_by_one_clip_at_most_whatever_the_model_draws(kind, place):
    """One step; the noise follows from the seed, and is the same in both sums."""
    samples = data(61 if kind == "Dropout" else 31)
    fewer = samples.take(np.delete(np.arange(len(samples)), place))
    larger, smaller = (fit(DRAWS[kind], s, seeded_noise=True) for s in (samples, fewer))
    moved = np.linalg.norm(larger - smaller) * PRIVATE.batch_size / PRIVATE.clip_samples
    assert 0.01 < moved < 1 + 1e-3


def test_the_sum_of_a_fit_would_show_masks_that_shift(monkeypatch):
    """The same test with one stream for all samples, as a counterexample."""
    stream = iter(range(10**6))
    right = torch_private.chance

    def shared(seeded, **where):
        drawn = right(seeded, **where)
        return torch_private.Chance(drawn.batch, drawn.noise, lambda step, sample: next(stream))

    monkeypatch.setattr("hedgerow.client.torch.trainer.chance", shared)
    samples = data(61)
    larger, smaller = (
        fit(DRAWS["Dropout"], s, seeded_noise=True) for s in (samples, samples.take(np.arange(60)))
    )
    assert np.linalg.norm(larger - smaller) * 200 > 3


@pytest.mark.parametrize("place", [0, 17, 40])
def test_a_sum_is_that_of_its_samples_wherever_one_more_is_put(place):
    trainer = TorchTrainer(Task(lambda: Drawing(nn.Dropout(0.5))))
    trainer._net.load(trainer.initial(1))
    trainer._net.module.train()
    samples = data(41)

    def total(kept):
        x, y = (torch.from_numpy(v[kept]) for v in (samples.x, samples.y))
        with num_threads(1):
            return trainer._samples.fixed_sum(x, y, 1.0, lambda k: 1000 + int(kept[k])).double()

    every = np.arange(41)
    moved = total(every) - total(np.delete(every, place))
    assert torch.equal(moved, total(every[[place]]))
    assert 0 < moved.norm() <= CLIP_UNITS


@pytest.mark.parametrize("kind", ["Dropout", "numpy", "random"])
def test_what_is_drawn_is_the_systems_where_the_noise_is(kind, monkeypatch):
    """Whoever knows the run's seed knows no mask: else membership is told from the sum (issue 9, line 4)."""
    monkeypatch.setattr(torch_private, "discrete_gaussian", lambda sigma, n, source: np.zeros(n, np.int64))
    samples = data(60)
    sums = [fit(DRAWS[kind], samples) for _ in range(3)]
    assert all(np.linalg.norm(a - b) * 200 > 1 for a, b in pairwise(sums))
    seeded = [fit(DRAWS[kind], samples, seeded_noise=True) for _ in range(2)]
    assert np.array_equal(*seeded)


def test_masks_differ_from_sample_to_sample_and_from_step_to_step(monkeypatch):
    monkeypatch.setattr(torch_private, "discrete_gaussian", lambda sigma, n, source: np.zeros(n, np.int64))
    seen = []

    def looking(h):
        seen.append(F.dropout(torch.ones(64)).tolist())
        return h

    local = LocalTraining(
        batch_size=4, clip_samples=1.0, sample_noise=1.0, sample_rate=1.0, sample_delta=1e-5, epochs=3
    )
    trainer = TorchTrainer(Task(lambda: Drawing(looking)))
    trainer._way(data(4), local, "")
    seen.clear()
    trainer.fit(trainer.initial(0), data(4), local, seed=1, round=1, client="a", seeded_noise=True)
    masks = {tuple(mask) for mask in seen}
    assert len(masks) == len(seen) == 3 * 4
    share = np.mean([np.mean(np.array(mask) > 0) for mask in masks])
    assert abs(share - 0.5) < 5 * 0.5 / (64 * 12) ** 0.5


class Own(nn.Module):
    """What `call` does with hidden values, with a place to keep something."""

    def __init__(self, call, kept):
        super().__init__()
        self.call, self.kept = call, kept

    def forward(self, h):
        return self.call(self.kept, h)


def remembers(kept, h):
    kept.append(h.detach().mean(0))
    return h + torch.stack(kept).mean(0)


def drops(kept, h):
    return h * torch.bernoulli(torch.full_like(h, 0.5), generator=kept)


class Counts(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(16))

    def forward(self, h):
        self.mean = 0.9 * self.mean + 0.1 * h.detach().mean(0)
        return h


MIXES = {
    "subtracts the mean": lambda: lambda h: h - h.mean(0),
    "normalizes": lambda: lambda h: F.batch_norm(h, None, None, training=True),
    "the next one": lambda: lambda h: h + 0.1 * h.roll(1, 0),
    "one after another": lambda: lambda h: torch.cumsum(h, 0),
    "a sequence of samples": lambda: nn.Sequential(
        nn.Unflatten(1, (4, 4)), nn.GRU(4, 4), Own(lambda _, h: h[0].flatten(1), None)
    ),
    "attention among samples": lambda: lambda h: (h @ h.T).softmax(1) @ h,
    "draws for one as another has it": lambda: lambda h: F.rrelu(h - 0.5, training=True),
}
KEEPS = {
    "a generator of numpy's": lambda: Own(lambda g, h: h * float(g.random()), np.random.default_rng(0)),
    "a generator of torch's": lambda: Own(drops, torch.Generator().manual_seed(0)),
    "a generator of Python's": lambda: Own(lambda g, h: h * g.random(), random.Random(0)),
    "what it has seen": lambda: Own(remembers, []),
}


@pytest.mark.parametrize("kind", MIXES)
def test_a_model_that_mixes_samples_is_refused_whatever_its_layers_are(kind):
    with pytest.raises(ValueError, match=r"client 'a', round 1: .*mixes the samples of a batch"):
        fit(MIXES[kind], data(9))


@pytest.mark.parametrize("kind", KEEPS)
def test_a_model_that_carries_anything_from_sample_to_sample_is_refused(kind):
    with pytest.raises(ValueError, match=r"from its own generator, or keeps something|mixes|fails on them"):
        fit(KEEPS[kind], data(9))


def test_running_statistics_are_refused_by_name():
    images = nn.Sequential(
        nn.Unflatten(1, (4, 2, 2)), nn.InstanceNorm2d(4, track_running_stats=True), nn.Flatten()
    )
    for layer, name in ((Counts, "draw.mean"), (lambda: images, "draw.1.running_mean")):
        with pytest.raises(ValueError, match=f"training changes the model's '{name}'"):
            fit(layer, data(9))


def test_an_embedding_that_rewrites_what_it_reads_is_refused():
    """`max_norm` changes the rows of the words that a client has."""

    def words():
        return nn.Sequential(nn.Embedding(50, 8, max_norm=0.5), nn.Flatten(), nn.Linear(24, 2))

    trainer = TorchTrainer(Task(words))
    samples = Samples(np.random.default_rng(0).integers(50, size=(9, 3)), np.zeros(9, np.int64))
    with pytest.raises(ValueError, match=r"training changes the model's '0\.weight'"):
        trainer.fit(trainer.initial(0), samples, PRIVATE, seed=1, round=1, client="a")


@pytest.mark.parametrize(
    "layer",
    [nn.GroupNorm(2, 16), nn.Sequential(nn.Unflatten(1, (4, 4)), nn.InstanceNorm1d(4), nn.Flatten())],
    ids=["GroupNorm", "InstanceNorm"],
)
def test_what_treats_each_sample_alone_is_taken(layer):
    assert np.isfinite(fit(lambda: copy.deepcopy(layer), data(9))).all()


def test_words_from_one_on_outputs_of_any_layout_and_zeros_to_begin_with_are_taken_and_still_seen_through():
    class Words(nn.Module):
        def __init__(self, mix):
            super().__init__()
            self.embed, self.last, self.mix = nn.Embedding(6, 8), nn.Linear(8, 3), mix
            nn.init.zeros_(self.last.weight)

        def forward(self, x):
            h = self.embed(x - 1).transpose(0, 1)  # time first
            h = h - h.mean(1, keepdim=True) if self.mix else h
            return {"scores": self.last(h), "length": x.shape[1]}

    def loss(outputs, targets):
        return F.cross_entropy(outputs["scores"].permute(1, 2, 0), targets)

    samples = Samples(np.random.default_rng(0).integers(1, 7, size=(9, 4)), np.zeros((9, 4), np.int64))
    for mix in (False, True):
        trainer = TorchTrainer(Task(lambda mix=mix: Words(mix), loss))
        arguments = trainer.initial(0), samples, PRIVATE
        if mix:
            with pytest.raises(ValueError, match="mixes the samples"):
                trainer.fit(*arguments, seed=1, round=1, client="a")
        else:
            assert np.isfinite(trainer.fit(*arguments, seed=1, round=1, client="a").delta).all()


def test_a_server_has_no_part_in_what_is_found():
    """A model of zeros shows nothing of what its layers do."""
    trainer = TorchTrainer(Task(lambda: Drawing(lambda h: h - h.mean(0))))
    start = trainer.initial(0)
    zeros = type(start)(np.zeros_like(start.parameters), start.buffers)
    with pytest.raises(ValueError, match="mixes the samples"):
        trainer.fit(zeros, data(9), PRIVATE, seed=1, round=1, client="a")


def test_a_model_that_cannot_be_tried_is_refused_without_a_word_of_its_data(caplog):
    def picky(h):
        if len(h) != 1:
            raise RuntimeError("only one at a time")
        return h

    with pytest.raises(ValueError, match="fails on them; why is in this client's own log") as caught:
        fit(lambda: picky, data(9))
    assert "only one" not in str(caught.value)


def test_a_trial_leaves_training_as_it_was():
    """Dropout under a clip without noise draws as if the model had not been tried."""
    local = LocalTraining(batch_size=4, clip_samples=1.0)
    trainer = TorchTrainer(Task(lambda: Drawing(nn.Dropout(0.5))))
    model = trainer.initial(0)
    first, second = (trainer.fit(model, data(9), local, seed=1, round=1, client="a").delta for _ in range(2))
    assert np.array_equal(first, second)
