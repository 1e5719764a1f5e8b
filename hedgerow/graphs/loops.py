"""The rule of a loop over time: its length is that of what it reads, which is known beforehand."""

from hedgerow.graphs.registry import MANY, Results, named
from hedgerow.graphs.values import Call, Value

_DIRECTIONS = "scan_input_directions scan_output_directions"


def _body(call: Call) -> tuple[Results, int]:
    """What the body gives in one step, and the memory that it takes."""
    scanned = call.whole("num_scan_inputs")
    if not 0 < scanned <= len(call.inputs) or any(not v.rank for v in call.inputs[-scanned:]):
        raise call.refuse("has nothing to go through")
    steps = [Value(v.shape[1:], v.dtype) for v in call.inputs[-scanned:]]
    if len({v.shape[0] for v in call.inputs[-scanned:]}) > 1:
        raise call.refuse("goes through values of different lengths")
    return call.body("body", [*call.inputs[:-scanned], *steps])


@named("Scan", (1, MANY), f"body num_scan_inputs {_DIRECTIONS}", lambda call, results: _body(call)[1])
def _scan(call: Call) -> Results:
    found, carried = _body(call)[0], len(call.inputs) - call.whole("num_scan_inputs")
    length = call.inputs[-1].shape[0]
    for before, after in zip(call.inputs[:carried], found, strict=False):
        if before[:2] != after[:2]:
            raise call.refuse("changes the form of what it carries from step to step")
    return [
        Value(value.shape if k < carried else (length, *value.shape), value.dtype)
        for k, value in enumerate(found)
    ]
