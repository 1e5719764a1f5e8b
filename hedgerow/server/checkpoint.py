"""Save the server's state after a round, and find it again.

A checkpoint is one safetensors file; the round and the names lie in its JSON
header. It is written beside the others, flushed to the disk, and renamed: a
process killed at any moment, or a full disk, leaves the last whole one. What a
run never changes, the model's constants, lies beside them, once, under its hash.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from hedgerow.files import PRIVATE, private_folder, write_whole
from hedgerow.types import Layout, Model, ServerState, Vector, hash_constants

_KEPT = 2
_UPDATE, _PRIVATE, _AGGREGATE, _STREAM = "update.", "private.", "aggregate.", "stream."
_CONTROL = "control"


class CheckpointError(ValueError):
    """A checkpoint that is there but cannot be used."""


def save_checkpoint(folder: Path, state: ServerState, layout: Layout, *, seed: int) -> Path:
    """Write the state of a round; keep it and the one before it.

    Raises:
        OSError: it cannot be written (a full disk); the earlier ones stay.
    """
    private_folder(folder)
    arrays = {"parameters": state.model.parameters, "buffers": state.model.buffers}
    arrays |= {_UPDATE + name: values for name, values in state.update.items()}
    arrays |= {_PRIVATE + name: values for name, values in state.private.items()}
    arrays |= {_AGGREGATE + name: values for name, values in state.aggregate.items()}
    arrays |= {_STREAM + name: values for name, values in state.streams.items()}
    header: dict[str, Any] = {"round": state.round, "seed": seed, "layout": layout.fingerprint}
    if state.uncounted:
        header["uncounted"] = dict(state.uncounted)
    if layout.constant_size:
        header["constants"] = _save_constants(folder, state.model.constants)
        header["holding"] = sorted(state.holding)
    path = folder / f"round-{state.round:06d}.safetensors"
    write_whole(path, save(_contiguous(arrays), {"hedgerow": json.dumps(header)}), mode=PRIVATE)
    for other in _checkpoints(folder)[:-_KEPT]:
        other.unlink(missing_ok=True)
    return path


def load_checkpoint(folder: Path, layout: Layout, *, seed: int) -> ServerState | None:
    """The newest state saved in a folder; `None` where there is none.

    A file that cannot be read is passed over for the one before it.

    Raises:
        CheckpointError: it is of another model or seed, or none can be read.
    """
    files = _checkpoints(folder)
    problems = []
    for path in reversed(files):
        try:
            with safe_open(path, framework="numpy") as file:
                header = json.loads(file.metadata()["hedgerow"])
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if "constants" in header:  # 0.1 had them in each checkpoint
                arrays["constants"] = _load_constants(folder, header["constants"])
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            problems.append(f"{path.name}: {error}")
            continue
        for name, wanted in {"layout": layout.fingerprint, "seed": seed}.items():
            if header[name] != wanted:
                raise CheckpointError(
                    f"{path} has {name} {header[name]!r}, this run has {wanted!r};"
                    " it is of another run: use another folder"
                )
        if _CONTROL in arrays:  # as 0.1 called the one stream it had
            arrays[_STREAM + _CONTROL] = arrays.pop(_CONTROL)
        update, private, aggregate, streams = (
            {name.removeprefix(part): values for name, values in arrays.items() if name.startswith(part)}
            for part in (_UPDATE, _PRIVATE, _AGGREGATE, _STREAM)
        )
        constants = arrays.get("constants", np.empty(0, np.float32))
        model = Model(arrays["parameters"], arrays["buffers"], constants)
        uncounted = header.get("uncounted", {})
        holding = frozenset(header.get("holding", ()))
        return ServerState(header["round"], model, update, streams, uncounted, aggregate, private, holding)
    if problems:
        raise CheckpointError(
            f"no checkpoint in {folder} can be read ({'; '.join(problems)}); start in another folder"
        )
    return None


def save_model(path: Path, model: Model, layout: Layout) -> None:
    """Write a model as named tensors, whole or not at all; `torch` and others can read it.

    Raises:
        OSError: it cannot be written.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for tensors, values in ((layout.parameters, model.parameters), (layout.untrained, model.untrained)):
        start = 0
        for tensor in tensors:
            arrays[tensor.name] = values[start : start + tensor.size].reshape(tensor.shape)
            start += tensor.size
    write_whole(path, save(_contiguous(arrays)))


def _save_constants(folder: Path, constants: Vector) -> str:
    """Write a model's constants where they are not there yet; their hash."""
    named = hash_constants(constants)
    path = folder / f"constants-{named}.safetensors"
    if not path.is_file():
        write_whole(path, save(_contiguous({"constants": constants})), mode=PRIVATE)
    return named


def _load_constants(folder: Path, named: str) -> Vector:
    with safe_open(folder / f"constants-{named}.safetensors", framework="numpy") as file:
        found: Vector = file.get_tensor("constants")
    if hash_constants(found) != named:
        raise ValueError(f"the constants of the model, constants-{named}.safetensors, have changed")
    return found


def _contiguous(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {name: np.ascontiguousarray(values) for name, values in arrays.items()}


def _checkpoints(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if re.fullmatch(r"round-\d+\.safetensors", p.name))
