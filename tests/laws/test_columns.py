"""A convolution of many clients as a product of matrices, as it is computed on a GPU."""

import pytest
import torch
from torch.nn import functional as F

from hedgerow.client.cohort.ops import layers

FORMS = {
    "plain": {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1)},
    "strided and padded": {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 1)},
}
OTHERS = {
    "groups": {"groups": 2},
    "dilation": {"dilation": (2, 1)},
    "same": {"padding": "same"},
}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("how", FORMS.values(), ids=FORMS)
def test_it_is_each_clients_own_convolution_and_so_are_its_gradients(how, bias) -> None:
    random = torch.Generator().manual_seed(0)

    def values(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=random, dtype=torch.float64).requires_grad_()

    x, w, b = values(3, 4, 2, 9, 8), values(3, 5, 2, 3, 2), values(3, 5) if bias else None
    columns = layers.columns_of(x, w, **how)
    assert columns is not None
    found = layers.convolved(columns, w, b)
    expected = torch.stack([F.conv2d(x[k], w[k], None if b is None else b[k], **how) for k in range(3)])
    inputs = [x, w, *([] if b is None else [b])]
    for one, other in zip(
        (found, *torch.autograd.grad(found.square().sum(), inputs)),
        (expected, *torch.autograd.grad(expected.square().sum(), inputs)),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_what_is_no_view_or_too_large_is_left_to_torch(other, monkeypatch) -> None:
    x, w = torch.zeros(3, 4, 2, 9, 8), torch.zeros(3, 5, 2, 3, 2)
    assert layers.columns_of(x, w, **{**FORMS["plain"], **other}) is None
    monkeypatch.setattr(layers, "_MOST_COLUMNS", 100)
    assert layers.columns_of(x, w, **FORMS["plain"]) is None
