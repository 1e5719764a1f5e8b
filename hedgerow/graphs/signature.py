"""What a graph takes and gives, read from its manifest."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

from hedgerow.graphs.errors import BadGraphs
from hedgerow.types import Layout, LocalTraining, Tensor
from hedgerow.wording import first_line, shown

NEW, SUM = "new/", "sum/"
"""Before the name of an input that comes out changed, and of a metric that is added up over samples."""

CROSS_ENTROPY = "cross_entropy"
"""The loss of a task that names none."""

STATE = ("velocity", "first_moment", "second_moment")
"""What an optimizer keeps from step to step, `(d,)` each and zeros at first."""

OF_A_STEP = (
    "optimizer",
    "batch_size",
    "momentum",
    "weight_decay",
    "proximal",
    "clip_gradient",
    "clip_samples",
)
"""Settings of `LocalTraining` that are in a graph; the others are the trainer's."""

DTYPES = ("float32", "float64", "int64", "bool")


@final
@dataclass(frozen=True)
class Port:
    """A tensor that goes into a graph, or comes out.

    Attributes:
        shape: of it.
        dtype: numpy's name for it.
        probability: of a one, if it is drawn anew for every run: zeros and ones; else `None`.
        axis: of what is drawn, the dimension that counts the samples; `None` where none does.
    """

    shape: tuple[int, ...]
    dtype: str
    probability: float | None = None
    axis: int | None = None


@final
@dataclass(frozen=True)
class Signature:
    """What a graph takes and gives.

    Attributes:
        inputs: by name, in the graph's order.
        outputs: by name, in the graph's order.
        layout: of the model's vectors.
        loss: the name of it.
        local: how a step trains, of a graph that trains; else `None`. Only `OF_A_STEP` counts.
    """

    inputs: Mapping[str, Port]
    outputs: Mapping[str, Port]
    layout: Layout
    loss: str
    local: LocalTraining | None

    @property
    def rows(self) -> int:
        """The size of every batch."""
        return self.inputs["mask"].shape[0]

    @property
    def dtype(self) -> str:
        """Of the model's values."""
        return self.inputs["parameters"].dtype

    @property
    def draws(self) -> dict[str, Port]:
        """Inputs that are drawn anew for every run, in the order in which they are drawn."""
        return {name: port for name, port in self.inputs.items() if port.probability is not None}


def signature_of(manifest: Mapping[str, Any], kind: str) -> Signature:
    """Read one graph's manifest.

    Args:
        manifest: such as `graphs.manifest["graphs"]["train.onnx"]`.
        kind: what it must be of: `"train"` or `"evaluate"`.

    Raises:
        BadGraphs: it is of another kind, or none that `hedgerow export` writes.
    """
    try:
        if manifest["kind"] != kind:
            raise BadGraphs(f"the graph is of kind {shown(manifest['kind'])}; it must be {kind!r}")
        layout = manifest["layout"]
        found = Signature(
            _ports(manifest["inputs"]),
            _ports(manifest["outputs"]),
            Layout(
                _tensors(layout["parameters"]),
                _tensors(layout["buffers"]),
                _tensors(layout["constants"]),
                norms=tuple(layout["norms"]),
            ),
            str(manifest["loss"]),
            LocalTraining(**{k: manifest["local"][k] for k in OF_A_STEP}) if kind == "train" else None,
        )
        _check(found, kind)
    except BadGraphs:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else first_line(error)
        raise BadGraphs(
            f"the manifest of the graph that is to {kind} is none that `hedgerow export` writes ({why})"
        ) from None
    return found


def _ports(listed: Any) -> dict[str, Port]:
    found = {}
    for each in listed:
        shape = tuple(each["shape"])
        if not _whole(shape) or each["dtype"] not in DTYPES:
            raise BadGraphs(
                f"{shown(each['name'])} is {shown(each['dtype'])} of shape {shown(list(shape))}; it must be"
                f" of whole sizes, and one of {', '.join(DTYPES)}"
            )
        found[str(each["name"])] = Port(shape, each["dtype"], *_drawn(each, shape))
    return found


def _drawn(each: Mapping[str, Any], shape: tuple[int, ...]) -> tuple[float | None, int | None]:
    """What an input is drawn by; two `None` if it is not drawn."""
    probability, axis = each.get("probability"), each.get("axis")
    if probability is None:
        return None, None
    if not 0 <= float(probability) <= 1 or not (
        axis is None or (type(axis) is int and axis in range(len(shape)))
    ):
        raise BadGraphs(
            f"{shown(each['name'])} is drawn with probability {shown(probability)} and its samples in"
            f" dimension {shown(axis)} of the shape {shape}"
        )
    return float(probability), axis


def _tensors(listed: Any) -> tuple[Tensor, ...]:
    return tuple(Tensor(str(each["name"]), _shape(each["shape"])) for each in listed)


def _shape(sizes: Any) -> tuple[int, ...]:
    shape = tuple(sizes)
    if not _whole(shape):
        raise ValueError(f"{shown(list(shape))} is no shape")
    return shape


def _whole(shape: tuple[Any, ...]) -> bool:
    return all(type(size) is int and size >= 0 for size in shape)


def _check(found: Signature, kind: str) -> None:
    """Raise `BadGraphs` unless a trainer can give all that goes in, and knows what comes out."""
    wanted = _known(found)
    vectors = [name for name, size in (("buffers", found.layout.buffer_size),
                                       ("constants", found.layout.constant_size)) if size]  # fmt: skip
    always = ["parameters", "x", "y", "mask", *vectors, *(["learning_rate"] if kind == "train" else [])]
    for name in always:
        if name not in found.inputs:
            raise BadGraphs(f"the graph does not take {name!r}, which a graph of kind {kind!r} must")
    if not wanted["mask"](mask := found.inputs["mask"]):  # first: it says how many rows there are
        raise _foreign("mask", mask)
    for port in found.draws.values():
        if port.axis is not None and port.shape[port.axis] % found.rows:
            raise BadGraphs(f"of {port.shape}, dimension {port.axis} cannot count {found.rows} samples")
    for name, port in found.inputs.items():
        known = port.probability is not None or (name in wanted and wanted[name](port))
        if not known:
            raise _foreign(name, port)
    if found.local is not None and found.local.batch_size != found.rows:
        raise BadGraphs(f"batches have {found.rows} rows, and batch_size is {found.local.batch_size}")
    for name, port in found.outputs.items():
        if name.startswith(SUM) and port.shape:
            raise BadGraphs(f"the graph gives {shown(name)} of shape {port.shape}; a sum is one number")
    changed = [name for name in ("parameters", "buffers", *STATE) if name in found.inputs]
    outputs = [f"{NEW}{name}" for name in changed] if kind == "train" else []
    for name in ["loss", *outputs]:
        there = found.outputs.get(name)
        given = found.inputs.get(name.removeprefix(NEW), Port((), found.dtype))
        if there != given:
            raise BadGraphs(
                f"the graph gives {'no' if there is None else 'another form of'} {name!r}, which a graph of"
                f" kind {kind!r} must give as {given.dtype} of shape {given.shape}"
            )


def _foreign(name: str, port: Port) -> BadGraphs:
    return BadGraphs(
        f"the graph takes {shown(name)}, {port.dtype} of shape {port.shape}, which is none of what a trainer"
        " gives"
    )


def _known(found: Signature) -> dict[str, Callable[[Port], bool]]:
    """The forms of all inputs that a trainer can give."""
    layout, dtype = found.layout, found.dtype

    def vector(size: int) -> Callable[[Port], bool]:
        return lambda port: port == Port((size,), dtype)

    def batch(port: Port) -> bool:
        return port.shape[:1] == found.inputs["mask"].shape

    return {
        "parameters": vector(layout.dimension), "buffers": vector(layout.buffer_size),
        "constants": vector(layout.constant_size),
        **{name: vector(layout.dimension) for name in ("start", "correction", *STATE)},
        "x": batch, "y": batch,
        "mask": lambda port: (
            port == Port(port.shape, "bool") and len(port.shape) == 1 and port.shape[0] > 0
        ),
        "learning_rate": lambda port: port == Port((), dtype),
        "step": lambda port: port == Port((), "int64"),
    }  # fmt: skip
