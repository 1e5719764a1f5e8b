"""A plain model as a run's description asks for it: with low-rank layers, a computed layer, or adapters."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from hedgerow.client.torch.closed_form import ClosedForm
from hedgerow.client.torch.factorised import low_rank as with_low_rank
from hedgerow.client.torch.lora import lora as with_adapters
from hedgerow.client.torch.transformed import Base, plain_module


def reshaped(
    model: Base,
    low_rank: Mapping[str, Any] | None,
    one_shot: Mapping[str, Any] | None,
    lora: Mapping[str, Any] | None,
) -> nn.Module:
    """A new module; each argument has those of its transform, or is `None`.

    Raises:
        ValueError: the model cannot be made so.
    """
    if low_rank is not None:
        model = with_low_rank(model, **low_rank)
    if one_shot is not None:
        model = ClosedForm(model, **one_shot)
    if lora is not None:
        model = with_adapters(model, **lora)
    return plain_module(model)
