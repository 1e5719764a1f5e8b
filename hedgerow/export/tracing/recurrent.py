"""Recurrent layers, which torch computes in one call, as loops over time."""

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from hedgerow.export.errors import CannotExport
from hedgerow.export.tracing.recurrences import Gru, Lstm, Rnn

_LAYERS = {torch.gru, torch.lstm, torch.rnn_tanh, torch.rnn_relu}


@final
class Loops(TorchFunctionMode):
    """Recurrent layers are loops while this is entered, and not written step by step."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Every function of torch, in here."""
        if func is torch._pack_padded_sequence:
            raise _packed()
        if func in _LAYERS:
            return _layers(func.__name__, *args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _packed() -> CannotExport:
    return CannotExport("a packed series has no loop in a graph; give the layer series of one length")


def _layers(
    name: str, x: Tensor, state: Any, weights: Any, bias: bool, layers: int, p: float, train: bool,
    both: bool, first: bool,
) -> tuple[Tensor, ...]:  # fmt: skip
    """`torch.gru` and its like: the outputs of the last layer, and the last states of all."""
    if not isinstance(bias, bool):
        raise _packed()
    ways = 2 if both else 1
    each = 4 if bias else 2
    if len(weights) != layers * ways * each:
        raise CannotExport(f"torch.{name} with proj_size has no loop in a graph; leave proj_size out")
    series = x.transpose(0, 1) if first else x
    states = state if isinstance(state, tuple | list) else [state]
    ends = []
    for layer in range(layers):
        found = []
        for way in range(ways):
            place = layer * ways + way
            own = weights[place * each : (place + 1) * each]
            before = [of_all[place] for of_all in states]
            found.append(_one(name, series, before, own, backwards=way == 1))
        ends += [[values[0 if way else -1] for values in several] for way, several in enumerate(found)]
        series = torch.cat([several[0] for several in found], -1)
    return series.transpose(0, 1) if first else series, *map(torch.stack, zip(*ends, strict=True))


def _one(
    name: str, x: Tensor, before: Sequence[Tensor], weights: Sequence[Tensor], *, backwards: bool
) -> Sequence[Tensor]:
    """A layer in one direction: its states, and of an LSTM its cells, `(time, n, units)` each."""
    of_x, w, *biases = weights
    if name == "gru":
        b_x, b = biases or (None, w.new_zeros(len(w)))
        found: Any = Gru.apply(F.linear(x, of_x, b_x), *before, w, b, backwards)  # type: ignore[no-untyped-call]
        return [found[0]]
    a = F.linear(x, of_x, biases[0] + biases[1] if biases else None)
    if name == "lstm":
        found = Lstm.apply(a, *before, w, backwards)  # type: ignore[no-untyped-call]
        return [found[0], found[1]]
    return [Rnn.apply(a, *before, w, name, backwards)]  # type: ignore[no-untyped-call]
