"""A wide layer that is trained without its weights computes what SGD on the weights does."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hedgerow.client.cohort.low_rank.wide_layer import LowRankUpdates, WideLayer
from hedgerow.types import LocalTraining, Samples
from tests.cohorts import both, check_company, check_equal, check_one_diverges

INPUTS, WIDE = 6, 512  # 512 x 512: more weights than a core keeps at hand


class Words(nn.Module):
    """Several vectors go through the wide layer for each sample."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.wide = nn.Embedding(9, WIDE), nn.Linear(WIDE, WIDE)
        self.out = nn.Linear(WIDE, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(torch.tanh(self.wide(self.embedding(x))).mean(1))


def between(*wide: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(INPUTS, WIDE), nn.Tanh(), *wide, nn.Tanh(), nn.Linear(WIDE, 3))


MODELS = {
    "one": lambda: between(nn.Linear(WIDE, WIDE)),
    "no bias": lambda: between(nn.Linear(WIDE, WIDE, bias=False)),
    "two": lambda: between(nn.Linear(WIDE, WIDE), nn.LayerNorm(WIDE), nn.Linear(WIDE, WIDE)),
    "several vectors": Words,
    "first": lambda: nn.Sequential(nn.Linear(WIDE, WIDE), nn.Linear(WIDE, 3)),
    "dropout": lambda: between(nn.Linear(WIDE, WIDE), nn.Dropout(0.4)),
}


def clients(name: str, sizes: list[int]) -> list[tuple[str, Samples]]:
    random = np.random.default_rng(sum(sizes))
    found = []
    for k, n in enumerate(sizes):
        if name == "several vectors":
            x = random.integers(9, size=(n, 3))
        else:
            x = random.normal(size=(n, WIDE if name == "first" else INPUTS)).astype(np.float32)
        found.append((f"client {k}", Samples(x, random.integers(3, size=n))))
    return found


@pytest.fixture
def used(monkeypatch) -> list[int]:
    """Vectors kept, for each batch that trained a wide layer without weights."""
    found: list[int] = []
    made = LowRankUpdates.__init__

    def watched(self: LowRankUpdates, layer: WideLayer, weight, slots: int, kept: int, *rest) -> None:
        found.append(kept)
        made(self, layer, weight, slots, kept, *rest)

    monkeypatch.setattr(LowRankUpdates, "__init__", watched)
    return found


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=8, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 50), min_size=1, max_size=6),
    epochs=st.integers(1, 3),
    batch_size=st.sampled_from([0, 1, 7, 16]),
)
def test_it_is_the_loop_to_1e_6(name, sizes, epochs, batch_size):
    local = LocalTraining(learning_rate=0.02, epochs=epochs, batch_size=batch_size)
    together, alone = both(MODELS[name], clients(name, sizes), local)
    check_equal(together, alone)


@pytest.mark.parametrize(
    ("name", "kept"),
    [("one", [40]), ("no bias", [40]), ("two", [40, 40]), ("several vectors", [128]), ("dropout", [40])],
)
def test_these_clients_are_trained_without_weights(name, kept, used):
    both(MODELS[name], clients(name, [40, 40, 39]), LocalTraining(batch_size=8))
    assert used == kept


@pytest.mark.parametrize(
    ("local", "sizes"),
    [
        (LocalTraining(momentum=0.5), [20]),
        (LocalTraining(weight_decay=0.1), [20]),
        (LocalTraining(proximal=0.1), [20]),
        (LocalTraining(clip_gradient=1.0), [20]),
        (LocalTraining(clip_samples=1.0), [20]),
        (LocalTraining(optimizer="adam"), [20]),
        (LocalTraining(epochs=3), [50]),
    ],
)
def test_other_training_and_much_of_it_keep_their_weights(local, sizes, used):
    together, alone = both(MODELS["one"], clients("one", sizes), local)
    assert not used
    if local.optimizer == "sgd":
        np.testing.assert_allclose(together["client 0"].delta, alone["client 0"].delta, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["two", "several vectors"])
def test_a_client_gets_the_same_bits_in_any_company(name, used):
    some = clients(name, [20, 20, 31, 7, 20, 12, 25])
    check_company(MODELS[name], some, LocalTraining(), 3, 3)
    assert used


@pytest.mark.parametrize(("samples", "batch_clients"), [(1, 20), (3, 6), (7, 4), (50, 6), (60, 4)])
def test_nor_does_it_matter_how_many_are_there(samples, batch_clients, used):
    some = clients("one", [samples] * 7)
    check_company(MODELS["one"], some, LocalTraining(batch_size=0), batch_clients, 2)
    assert used


def test_one_that_diverges_leaves_the_others_alone(used):
    check_one_diverges(MODELS["one"], clients("one", [20, 20, 20, 20]), np.nan)
    assert used
