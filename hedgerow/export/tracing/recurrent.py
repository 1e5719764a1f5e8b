"""Recurrent layers, which torch computes in one call."""

from typing import Any

from torch.overrides import TorchFunctionMode

from hedgerow.export.errors import CannotExport

_LAYERS = {"gru", "lstm", "rnn_tanh", "rnn_relu"}


class Loops(TorchFunctionMode):
    """Refuses recurrent layers: their steps would be written one by one, hundreds of nodes."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Every function of torch, in here."""
        if getattr(func, "__name__", "") in _LAYERS:
            raise CannotExport(
                f"the steps of torch.{func.__name__} would have to be a loop in the graph, which there is not"
                " yet; use another layer in its place, or train with torch"
            )
        return func(*args, **(kwargs or {}))
