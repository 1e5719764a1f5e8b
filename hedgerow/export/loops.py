"""A loop over time as ONNX's Scan, whose body is written by the same translators as the rest."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hedgerow.export.operators.registry import Form, translates
from hedgerow.export.tracing.cells import CELLS
from hedgerow.export.tracing.trace import trace
from hedgerow.export.translate import translate
from hedgerow.export.writer import Value, Writer


@translates("hedgerow.loop.default")
def _loop(
    to: Writer,
    out: Sequence[Form],
    cell: str,
    inputs: Sequence[Value],
    states: Sequence[Value],
    constants: Sequence[Value],
    backwards: bool,
) -> tuple[Value, ...]:
    body = to.body()
    now = {body.named(f"state_{k}"): each.shape for k, each in enumerate(states)}
    steps = {body.named(f"input_{k}"): each.shape[1:] for k, each in enumerate(inputs)}
    outer = {body.named(f"constant_{k}"): each for k, each in enumerate(constants)}
    shapes = {**now, **steps, **{name: value.shape for name, value in outer.items()}}
    dtype = getattr(torch, out[0].dtype.name)

    def step(**given: Tensor) -> dict[str, Tensor]:
        after, outputs = CELLS[cell](*([given[name] for name in names] for names in (steps, now, outer)))
        return {body.named(f"new_{k}"): each for k, each in enumerate([*after, *outputs])}

    like = {name: torch.zeros(shape, dtype=dtype) for name, shape in shapes.items()}
    found = translate(trace(step, like, nn.Module()), body, outer=outer)
    directions = [int(backwards)]
    return to.many(
        "Scan",
        [*states, *inputs],
        [(form.shape, form.dtype) for form in out],
        body=body.graph(cell, list(found.items())),
        num_scan_inputs=len(inputs),
        scan_input_directions=directions * len(inputs),
        scan_output_directions=directions * (len(out) - len(states)),
    )
