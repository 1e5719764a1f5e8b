"""What dropout keeps is drawn by us: by the documented rule, and for every way in which torch drops."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from hedgerow.client.draws import Draws
from hedgerow.client.task import Task
from hedgerow.client.torch.dropout import Dropout
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.models import MODELS
from hedgerow.rng import generator
from hedgerow.types import LocalTraining, Samples
from tests.laws.cohort_cases import SHIPPED, trainer_of


def by_the_rule(seed: int, round: int, client: str, draws: list[tuple[int, float]]) -> list[list[bool]]:
    """The rule in the module's own words, with whole numbers of Python."""
    words = generator(seed, "dropout", round=round, client=client).bit_generator
    found = []
    for count, probability in draws:
        drawn = [int(words.random_raw()) for _ in range((count + 1) // 2)]
        halves = [half for word in drawn for half in (word % 2**32, word // 2**32)]
        found.append([half < int(probability * 2**32) for half in halves[:count]])
    return found


@given(
    seed=st.integers(0, 9),
    draws=st.lists(st.tuples(st.integers(0, 4), st.integers(1, 7), st.floats(0, 1)), max_size=4),
)
def test_the_draws_follow_the_rule_that_other_languages_follow(seed, draws):
    own = Draws(seed, round=3, client="é")
    expected = by_the_rule(seed, 3, "é", [(rows * size, p) for rows, size, p in draws])
    for (rows, size, p), values in zip(draws, expected, strict=True):
        assert own.rows(rows, size, p).ravel().tolist() == values


@given(axis=st.integers(0, 2), samples=st.integers(1, 4), times=st.integers(1, 3))
def test_a_batch_that_is_filled_up_draws_what_its_samples_draw_alone(axis, samples, times):
    def shape(rows):
        sizes = [2, 3, 4]
        sizes[axis] = rows * times
        return sizes

    full, alone = (Draws(1, round=1, client="a") for _ in range(2))
    for _ in range(2):
        one = full.mask(shape(4), 0.5, axis=axis, rows=4, samples=samples)
        other = alone.mask(shape(samples), 0.5, axis=axis, rows=samples, samples=samples)
        cut = [slice(None)] * 3
        cut[axis] = slice(samples * times)
        np.testing.assert_array_equal(one[tuple(cut)], other)
        cut[axis] = slice(samples * times, None)
        assert one[tuple(cut)].all()


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_as_many_are_kept_as_the_probability_says(probability):
    kept = Draws(2, round=1, client="a").rows(1000, 1000, probability)
    assert abs(kept.mean() - probability) < 5 * (probability * (1 - probability) / 1e6) ** 0.5


class OfTorch:
    """Torch's own draws, so that all must be as without `Dropout`."""

    def __init__(self):
        self.shapes = []

    def whole(self, shape, probability, like):
        self.shapes.append(tuple(shape))
        return like.new_empty(shape).bernoulli_(probability)


def encoder(**options) -> nn.Module:
    """Time first: torch draws in the order of memory, which batches first have otherwise."""
    return nn.TransformerEncoderLayer(6, 2, 8, 0.3, **options)


WAYS = {
    "dropout": lambda x: F.dropout(x, 0.3),
    "in place": lambda x: F.dropout(x * 1, 0.3, inplace=True),
    "torch.dropout": lambda x: torch.dropout(x, 0.3, train=True),
    "torch.dropout_": lambda x: torch.dropout_(x * 1, 0.3, True),
    "1d": lambda x: F.dropout1d(x, 0.3),
    "1d, alone": lambda x: F.dropout1d(x[0], 0.3),
    "2d": lambda x: F.dropout2d(x.unsqueeze(-1), 0.3),
    "3d": lambda x: nn.Dropout3d(0.3)(x[..., None, None]),
    "alpha": lambda x: F.alpha_dropout(x, 0.3, training=True),
    "feature alpha": lambda x: nn.FeatureAlphaDropout(0.3)(x),
    "all": lambda x: F.dropout(x, 1.0),
    "none": lambda x: F.dropout(x, 0.0),
    "attention": lambda x: F.scaled_dot_product_attention(x, x, x.flip(1), dropout_p=0.3),
    "causal": lambda x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.3, is_causal=True, scale=0.2),
    "masked": lambda x: F.scaled_dot_product_attention(x, x, x, torch.ones(5, 5).tril().bool(), 0.3),
    "added": lambda x: F.scaled_dot_product_attention(x, x, x, torch.eye(5), 0.3),
    "heads in groups": lambda x: F.scaled_dot_product_attention(
        x.view(1, 4, 5, 6), x.view(1, 4, 5, 6)[:, :2], x.view(1, 4, 5, 6)[:, :2], None, 0.3, enable_gqa=True
    ),
    "encoder": lambda x: encoder()(x),
    "encoder, norm first": lambda x: encoder(norm_first=True)(x),
    "weights of attention": lambda x: nn.MultiheadAttention(6, 2, 0.3)(x, x, x)[0],
    "GRU": lambda x: nn.GRU(6, 4, 3, dropout=0.3, bidirectional=True)(x)[0],
    "LSTM": lambda x: sum(nn.LSTM(6, 4, 2, dropout=0.3)(x)[1]),
    "RNN": lambda x: nn.RNN(6, 4, 2, dropout=0.3)(x)[1],
}


@pytest.mark.parametrize("way", WAYS)
def test_but_for_where_it_is_drawn_everything_that_drops_is_torchs_own(way):
    def run(source):
        torch.manual_seed(3)
        x = torch.randn(4, 5, 6, requires_grad=True)
        if source is None:
            out = WAYS[way](x)
        else:
            with Dropout(source):
                out = WAYS[way](x)
        return out, torch.autograd.grad(out.square().sum(), x)[0], torch.rand(())

    source = OfTorch()
    for ours, torchs in zip(run(source), run(None), strict=True):
        torch.testing.assert_close(ours, torchs)
    assert bool(source.shapes) == (way not in ("all", "none"))


class Kept(nn.Module):
    """Shows what its dropout keeps, of which the parameter has a part in."""

    def __init__(self, seen, axis):
        super().__init__()
        self.linear, self.seen, self.axis = nn.Linear(3, 2), seen, axis

    def forward(self, x):
        ones = torch.ones(len(x), 3, 5).movedim(0, self.axis)
        self.seen.append(F.dropout(ones, 0.4).numpy() > 0)
        return self.linear(F.dropout(x, 0.5))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_trainer_drops_what_the_draws_say_wherever_a_tensor_has_its_samples(axis):
    seen, rng = [], np.random.default_rng(0)
    data = Samples(rng.normal(size=(7, 3)).astype("float32"), rng.integers(0, 2, 7))
    trainer = TorchTrainer(Task(lambda: Kept(seen, axis)))
    local = LocalTraining(batch_size=3, epochs=2)
    trainer.fit(trainer.initial(0), data, local, seed=5, round=2, client="a")
    draws = Draws(5, round=2, client="a")
    for shown, rows in zip(seen[-6:], [3, 3, 1] * 2, strict=True):
        sizes = np.ones((rows, 3, 5), bool)
        mask = draws.mask(np.moveaxis(sizes, 0, axis).shape, 0.6, axis=axis, rows=rows, samples=rows)
        np.testing.assert_array_equal(shown, mask)
        draws.rows(rows, 3, 0.5)


class Twice(nn.Module):
    """Its forward pass may be computed again in the backward pass."""

    def __init__(self, again):
        super().__init__()
        self.again = again
        self.first, self.last = nn.Linear(6, 32), nn.Linear(32, 3)

    def part(self, x):
        return F.dropout(torch.tanh(self.first(F.dropout(x, 0.2))), 0.5)

    def forward(self, x):
        hidden = checkpoint(self.part, x, use_reentrant=False) if self.again else self.part(x)
        return self.last(F.dropout(hidden, 0.1))


@pytest.mark.parametrize("clip", [0.0, 0.5])
def test_a_forward_pass_that_is_repeated_drops_the_same_again(clip):
    rng = np.random.default_rng(0)
    data = Samples(rng.normal(size=(9, 6)).astype("float32"), rng.integers(0, 3, 9))
    local = LocalTraining(batch_size=4, clip_samples=clip)
    found = []
    for again in (False, True):
        trainer = TorchTrainer(Task(lambda again=again: Twice(again)))
        found.append(trainer.fit(trainer.initial(0), data, local, seed=1, round=1, client="a").delta)
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)


@pytest.mark.parametrize("name", MODELS.names())
def test_for_a_model_that_drops_nothing_no_draws_are_made(name, monkeypatch):
    monkeypatch.setattr("hedgerow.client.torch.masks.Draws", lambda *args, **where: pytest.fail("drawn"))
    trainer, model = trainer_of(name)
    data = SHIPPED[name].clients([4])[0][1]
    trainer.fit(model, data, LocalTraining(batch_size=4, clip_samples=1.0), seed=1, round=1, client="a")
    assert not trainer._inner._dropping._found
