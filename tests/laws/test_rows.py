"""Rows that lie on a GPU, and are brought from there at once, are gathered as those in memory are."""

import numpy as np
import pytest
import torch

from hedgerow.client.cohort.rows import Rows
from hedgerow.types import Tensor as Slot

TENSORS = (Slot("conv", (3, 2, 2, 2)), Slot("bias", (3,)), Slot("linear", (5, 7)))
CLIENTS = 5


def rows_of(*, there: bool) -> Rows:
    rows = Rows(TENSORS, frozenset(), CLIENTS, torch.zeros, frozenset({"conv"}))
    rows.values.copy_(torch.arange(rows.values.numel()).view_as(rows.values))
    if there:
        rows._in_memory = None  # as on a GPU
    return rows


@pytest.mark.parametrize("brought", [[0, 1, 2, 3, 4], [1, 3]])
def test_they_are_the_same_in_any_order_and_after_they_have_changed(brought) -> None:
    here, there = rows_of(there=False), rows_of(there=True)
    minus = here.spread(np.arange(24 + 3 + 35, dtype=np.float32))
    for _ in range(2):
        there.bring(brought)
        for row in reversed(brought):
            assert there.gather(row, minus).tobytes() == here.gather(row, minus).tobytes()
            for each in (here, there):
                each.values[row] += 1  # another client takes its place
