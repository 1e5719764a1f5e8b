"""Which layers stay on a device that trains by graphs, and where they start, as the manifest has it.

A device without torch cannot make a model, so it is given what its own layers were before the first round.
"""

import base64
from typing import Any

import numpy as np

from hedgerow.graphs.bundle import Graphs
from hedgerow.graphs.errors import BadGraphs
from hedgerow.types import Model, Vector
from hedgerow.types.split import Split
from hedgerow.wording import shown

_KEY = "personal"


def personal_part(split: Split, model: Model, seed: int) -> dict[str, Any]:
    """The part of a manifest about personal layers; empty where a model has none.

    Args:
        split: of the model.
        model: before the first round.
        seed: of the run, by which it was made.

    >>> from hedgerow.types import Layout, Tensor
    >>> split = Split(Layout((Tensor("body", (2,)), Tensor("head", (1,)))), frozenset({"head"}))
    >>> personal_part(split, Model(np.ones(3, np.float32)), 7)["personal"]
    {'tensors': ['head'], 'seed': 7, 'parameters': 'AACAPw==', 'buffers': ''}
    """
    if not split.personal:
        return {}
    own = split.own_part(model)
    values = {"parameters": own.parameters, "buffers": own.buffers}
    written = {name: base64.b64encode(v.astype("<f4").tobytes()).decode() for name, v in values.items()}
    return {_KEY: {"tensors": _names(split), "seed": seed, **written}}


def personal_start(graphs: Graphs, split: Split, seed: int) -> Model | None:
    """The model from which a device's personal layers start; `None` where a model has none.

    Only their values are in it; all others are zero.

    Args:
        graphs: with their manifest.
        split: of the run's model.
        seed: of the run.

    Raises:
        BadGraphs: other layers are personal in the graphs, or start in another run.
    """
    told = graphs.manifest.get(_KEY, {"tensors": []})
    given = told.get("tensors") if isinstance(told, dict) else told
    if given != (wanted := _names(split)):
        raise BadGraphs(
            f"the tensors that stay on a device are {shown(given)} in the graphs, and {shown(wanted)} in the"
            " run"
        )
    if not wanted:
        return None
    if told.get("seed") != seed:
        raise BadGraphs(
            f"personal layers start from the seed {shown(told.get('seed'))} in the graphs, and {seed} in the"
            " run"
        )
    own = Model(
        _values(told.get("parameters"), split.own.dimension),
        _values(told.get("buffers"), split.own.buffer_size),
    )
    return split.join(Model(*(np.zeros(size, np.float32) for size in _sizes(split))), own)


def _names(split: Split) -> list[str]:
    return [tensor.name for tensor in (*split.own.parameters, *split.own.buffers)]


def _sizes(split: Split) -> tuple[int, int, int]:
    shared = split.shared
    return shared.dimension, shared.buffer_size, shared.constant_size


def _values(text: Any, size: int) -> Vector:
    try:
        if not isinstance(text, str) or len(text) != 4 * -(-4 * size // 3):
            raise ValueError
        values = np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(np.float32)
        if values.shape != (size,) or not np.isfinite(values).all():
            raise ValueError
    except ValueError:
        raise BadGraphs(f"the values of the personal layers are not {size} finite numbers") from None
    return values
