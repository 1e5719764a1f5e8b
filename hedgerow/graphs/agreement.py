"""Whether graphs are those of a run: its model, its loss, its way of training, and what stays on a device."""

from hedgerow.graphs.bundle import TRAIN, Graphs
from hedgerow.graphs.errors import BadGraphs
from hedgerow.graphs.personal import personal_start
from hedgerow.graphs.signature import OF_A_STEP, signature_of
from hedgerow.strategies.strategy import Strategy
from hedgerow.types import Model
from hedgerow.wording import shown

LOSSES = {"classification": "cross_entropy", "regression": "squared_error"}
"""The loss of each kind of task."""


def check_run(graphs: Graphs, strategy: Strategy, kind: str, layout: str, seed: int) -> Model | None:
    """Refuse graphs that are not those of a run.

    Args:
        graphs: with their manifest.
        strategy: of the run.
        kind: of its task: `"classification"` or `"regression"`.
        layout: fingerprint of its model's layout.
        seed: of it.

    Returns:
        The model from which personal layers start; `None` where there are none.

    Raises:
        BadGraphs: naming what differs.
        ValueError: the run's personal layers are none of the model's.
    """
    found = signature_of(graphs.manifest["graphs"][TRAIN], "train")
    differing = [(name, getattr(found.local, name), getattr(strategy.local, name)) for name in OF_A_STEP]
    differing += [
        ("loss", found.loss, LOSSES.get(kind, "")),
        ("the model's layout", found.layout.fingerprint, layout),
    ]
    for name, given, wanted in differing:
        if given != wanted:
            raise BadGraphs(f"{name} is {shown(given)} in the graphs, and {shown(wanted)} in the run")
    corrects = any(stream.correction is not None for stream in strategy.streams)
    inputs = {
        "correction": corrects, "start": strategy.local.proximal > 0, "velocity": strategy.local.momentum > 0,
        "first_moment": strategy.local.optimizer == "adam",
    }  # fmt: skip
    for name, needed in inputs.items():
        if needed != (name in found.inputs):
            does = "does not take" if needed else "takes"
            raise BadGraphs(f"the graph that trains {does} {name!r}, unlike the run's training")
    return personal_start(graphs, strategy.split(found.layout), seed)
