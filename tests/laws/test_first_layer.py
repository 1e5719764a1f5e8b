"""A first layer that is trained without its weights computes what SGD on the weights does."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hedgerow.client.cohort.low_rank.first_layer import FirstLayer
from hedgerow.types import LocalTraining, Samples
from tests.cohorts import both, check_company, check_equal, check_one_diverges

INPUTS, WIDE = 130, 128  # more weights than a core keeps at hand; rows that end within a cache line


def flat() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(INPUTS, WIDE), nn.ReLU(), nn.Linear(WIDE, 3))


MODELS = {
    "flat": (flat, (1, 13, 10)),
    "vectors": (lambda: nn.Sequential(nn.Linear(INPUTS, WIDE), nn.Tanh(), nn.Linear(WIDE, 3)), (INPUTS,)),
    "no bias": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(INPUTS, WIDE, bias=False)), (13, 10)),
    "norm": (
        lambda: nn.Sequential(nn.Linear(INPUTS, WIDE), nn.LayerNorm(WIDE), nn.ReLU(), nn.Linear(WIDE, 3)),
        (INPUTS,),
    ),
}


def clients(sizes: list[int], shape: tuple[int, ...]) -> list[tuple[str, Samples]]:
    random = np.random.default_rng(sum(sizes))
    drawn = [(random.normal(size=(n, *shape)).astype(np.float32), random.integers(3, size=n)) for n in sizes]
    return [(f"client {k}", Samples(x, y)) for k, (x, y) in enumerate(drawn)]


@pytest.fixture
def used(monkeypatch) -> list[int]:
    """Rows of each client that is trained without weights."""
    found: list[int] = []
    rows = FirstLayer.rows

    def watched(self: FirstLayer, data: Samples, local: LocalTraining) -> int:
        found.append(rows(self, data, local))
        return found[-1]

    monkeypatch.setattr(FirstLayer, "rows", watched)
    return found


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=12, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 50), min_size=1, max_size=6),
    epochs=st.integers(1, 3),
    batch_size=st.sampled_from([0, 1, 7, 16]),
)
def test_it_is_the_loop_to_1e_6(name, sizes, epochs, batch_size):
    model, shape = MODELS[name]
    some = clients(sizes, shape)
    local = LocalTraining(learning_rate=0.05, epochs=epochs, batch_size=batch_size)
    together, alone = both(model, some, local)
    check_equal(together, alone)


@pytest.mark.parametrize("name", MODELS)
def test_these_clients_are_trained_without_weights(name, used):
    model, shape = MODELS[name]
    both(model, clients([5, 40, 16], shape), LocalTraining())
    assert set(used) == {16, 48, 32}


@pytest.mark.parametrize(
    ("local", "sizes"),
    [
        (LocalTraining(momentum=0.5), [20]),
        (LocalTraining(weight_decay=0.1), [20]),
        (LocalTraining(proximal=0.1), [20]),
        (LocalTraining(clip_gradient=1.0), [20]),
        (LocalTraining(optimizer="adam"), [20]),
        (LocalTraining(), [200]),
    ],
)
def test_other_training_and_large_clients_keep_their_weights(local, sizes, used):
    together, alone = both(flat, clients(sizes, (1, 13, 10)), local)
    assert not any(used)
    np.testing.assert_allclose(together["client 0"].delta, alone["client 0"].delta, rtol=0, atol=1e-5)


def test_a_client_gets_the_same_bits_in_any_company():
    some = clients([20, 20, 31, 7, 20, 12, 45], (1, 13, 10))
    check_company(flat, some, LocalTraining(epochs=2), 3, 2)


def test_one_that_diverges_leaves_the_others_alone():
    check_one_diverges(flat, clients([20, 20, 20, 20], (1, 13, 10)), 1e30)


def test_layers_that_update_themselves_are_reached_also_where_only_they_come_before_what_is_learned():
    """Autograd does not go where no gradient is asked for: a first layer once kept its weights."""
    model = lambda: nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.Linear(16, 3))  # noqa: E731
    together, alone = both(model, clients([25, 25], (8,)), LocalTraining())
    for name, fit in alone.items():
        np.testing.assert_allclose(together[name].delta, fit.delta, rtol=0, atol=1e-6)
        assert np.abs(fit.delta[: 8 * 16]).max() > 1e-3


def test_the_data_must_be_what_the_layer_takes():
    series = lambda: nn.Sequential(nn.Linear(INPUTS, WIDE), nn.Flatten(), nn.Linear(WIDE, 3))  # noqa: E731
    together, alone = both(series, clients([20, 9], (1, INPUTS)), LocalTraining())
    for name, fit in alone.items():
        np.testing.assert_allclose(together[name].delta, fit.delta, rtol=0, atol=1e-6)
    assert torch.is_grad_enabled()
