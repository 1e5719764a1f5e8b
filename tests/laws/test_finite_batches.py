"""What clients of a batch have learned is known to be finite from little of it, and never known wrongly."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.client.cohort import batch
from hedgerow.client.cohort.finite import is_finite, known, product_norm
from hedgerow.client.fitting import epochs
from hedgerow.types import LocalTraining
from tests.cohorts import both, check_equal
from tests.laws.test_first_layer import clients, flat

CLIENTS = 4
SCALE = st.sampled_from([0.0, 1e-30, 1.0, 1e9, 1e14, 1e16, 1e19, 1e25, 3e38, np.inf, np.nan])
USUAL = st.floats(0, 1e12)


class Product:
    """A layer whose change is `A^T X`, of a scale for each client."""

    def __init__(self, scales, seed):
        random = np.random.default_rng(seed)
        self.a, self.x = (
            torch.from_numpy(random.normal(size=(CLIENTS, 5, n)).astype(np.float32))
            * torch.tensor([pair[side] for pair in scales], dtype=torch.float32)[:, None, None]
            for side, n in enumerate((3, 7))
        )

    def largest(self, clients):
        return product_norm(self.a[:clients], torch.linalg.vector_norm(self.x[:clients], dim=(1, 2)))


def drawn(scale):
    pairs = st.lists(st.tuples(scale, scale), min_size=CLIENTS, max_size=CLIENTS)
    return st.builds(Product, pairs, st.integers(0, 99))


def weights(scales):
    return torch.tensor(scales, dtype=torch.float32)[:, None] * torch.ones(CLIENTS, 6)


ROWS = st.lists(SCALE, min_size=CLIENTS, max_size=CLIENTS).map(weights)


@given(products=st.lists(drawn(SCALE), max_size=2), stored=ROWS)
def test_a_change_that_is_said_to_be_finite_is_finite(products, stored):
    for client, sure in enumerate(known(stored, products)):
        changes = [each.a[client].mT @ each.x[client] for each in products]
        if not all(torch.isfinite(values).all() for values in (stored[client], *changes)):
            assert not sure


@given(products=st.lists(drawn(USUAL), max_size=2))
def test_of_usual_numbers_it_is_known(products):
    assert all(known(torch.ones(CLIENTS, 6), products))
    assert known(torch.ones(CLIENTS, 0), products) == [True] * CLIENTS


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 4999])
def test_one_value_that_is_not_finite_is_found_wherever_it_is(value, place):
    values = np.full(5000, 1e30, np.float32)  # their squares are not finite
    assert is_finite(values)
    values[place] = value
    assert not is_finite(values)


@pytest.mark.parametrize(("sizes", "looked"), [([20] * 8, 0), ([30, 20, 30, 20, 30], 1)])
def test_of_clients_that_end_together_none_is_looked_at_value_by_value(sizes, looked, monkeypatch):
    seen = []
    monkeypatch.setattr(batch, "is_finite", lambda values: seen.append(len(values)) or is_finite(values))
    check_equal(*both(flat, clients(sizes, (1, 13, 10)), LocalTraining()))
    assert bool(any(seen)) == looked


def test_a_sample_that_is_never_seen_may_be_anything():
    some, local = clients([20] * 4, (1, 13, 10)), LocalTraining(max_steps=1)
    ((seen,),) = epochs(20, local, seed=3, round=2, client="client 1")
    x = some[1][1].x
    x[np.setdiff1d(np.arange(20), seen)] = np.nan
    check_equal(*both(flat, some, local))
