"""Save the server's state after a round, and load it again.

A checkpoint is one safetensors file, with the round and the names in its JSON
header. It is written under a temporary name, flushed to the disk, and renamed:
if the process is killed or the disk is full, the last complete one remains. The
model's constants, which a run never changes, are stored once, under their hash.
"""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, save

from hedgerow import checks
from hedgerow.files import PRIVATE, private_folder, write_whole
from hedgerow.promotion.tensors import OtherTensors, contiguous, model_of, named_tensors
from hedgerow.sealed import sealed, unsealed
from hedgerow.server.arguments import check_sizes
from hedgerow.server.flights import pack_flights, unpack_flights
from hedgerow.types import Layout, Model, ServerState, Vector, hash_constants

MODEL, CHECKPOINTS = "model.safetensors", "checkpoints"

_KEPT = 2
_HEADER = "hedgerow"
_UPDATE, _PRIVATE, _AGGREGATE, _STREAM, _DOWN = "update.", "private.", "aggregate.", "stream.", "downlink."
_CONTROL = "control"


class CheckpointError(ValueError):
    """A checkpoint that exists but cannot be used."""


def save_checkpoint(
    folder: Path, state: ServerState, layout: Layout, *, seed: int, constants: str = ""
) -> Path:
    """Write the state of a round; only this checkpoint and the previous one are kept.

    Args:
        constants: hash of the model's constants, if it is known.

    Raises:
        OSError: it cannot be written (such as on a full disk); the earlier ones stay.
    """
    private_folder(folder)
    arrays = {"parameters": state.model.parameters, "buffers": state.model.buffers}
    arrays |= {_UPDATE + name: values for name, values in state.update.items()}
    arrays |= {_PRIVATE + name: values for name, values in state.private.items()}
    arrays |= {_AGGREGATE + name: values for name, values in state.aggregate.items()}
    arrays |= {_STREAM + name: values for name, values in state.streams.items()}
    arrays |= {_DOWN + name: values for name, values in state.downlink.items()}
    header: dict[str, Any] = {"round": state.round, "seed": seed, "layout": layout.fingerprint}
    if state.uncounted:
        header["uncounted"] = dict(state.uncounted)
    if state.norms:
        header["norms"] = dict(state.norms)
    if state.held:
        header["held"] = dict(state.held)
    if state.strikes:
        header["strikes"] = dict(state.strikes)
    if state.flights.asked:
        arrays |= pack_flights(state.flights, header)
    if state.clock:
        header["clock"] = dict(state.clock)
    if layout.constant_size:
        named = header["constants"] = constants or hash_constants(state.model.constants)
        _save_constants(folder / f"constants-{named}.safetensors", state.model.constants)
        header["holding"] = sorted(state.holding)
    path = folder / f"round-{state.round:06d}.safetensors"
    write_whole(path, sealed(save(contiguous(arrays), {_HEADER: json.dumps(header)})), mode=PRIVATE)
    for other in _checkpoints(folder)[:-_KEPT]:
        other.unlink(missing_ok=True)
    return path


def begun(folder: Path) -> bool:
    """Whether the run in a folder has a checkpoint, and so no longer needs the initial model."""
    return bool(_checkpoints(folder / CHECKPOINTS))


def load_checkpoint(folder: Path, layout: Layout, *, seed: int) -> ServerState | None:
    """The newest state saved in a folder; `None` if there is none.

    If a file cannot be read, the previous one is used.

    Raises:
        CheckpointError: it belongs to another model or seed, or none can be read.
    """
    files = _checkpoints(folder)
    problems = []
    for path in reversed(files):
        try:
            data = unsealed(path.read_bytes())
            header, arrays = _header(data), load(data)
            if "constants" in header:  # version 0.1 stored them in each checkpoint
                arrays["constants"] = _load_constants(folder, header["constants"])
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            problems.append(f"{path.name}: {error}")
            continue
        differs = ""
        if header["layout"] != layout.fingerprint:
            differs = "has a model with other tensors than this run's"
        if header["seed"] != seed:
            differs = f"has seed {header['seed']}, this run has {seed}"
        if differs:
            raise CheckpointError(f"{path} {differs}; it belongs to another run: use another folder")
        if _CONTROL in arrays:  # version 0.1's name for its only stream
            arrays[_STREAM + _CONTROL] = arrays.pop(_CONTROL)
        update, private, aggregate, streams, downlink = (
            {name.removeprefix(part): values for name, values in arrays.items() if name.startswith(part)}
            for part in (_UPDATE, _PRIVATE, _AGGREGATE, _STREAM, _DOWN)
        )
        constants = arrays.get("constants", np.empty(0, np.float32))
        model = Model(arrays["parameters"], arrays["buffers"], constants)
        uncounted = header.get("uncounted", {})
        holding = frozenset(header.get("holding", ()))
        return ServerState(
            header["round"], model, update, streams, uncounted, aggregate, private, holding,
            header.get("norms", {}),
            {name: tuple(rounds) for name, rounds in header.get("strikes", {}).items()},
            downlink, header.get("held", {}), header.get("clock", {}), unpack_flights(header, arrays),
        )  # fmt: skip
    if problems:
        raise CheckpointError(
            f"no checkpoint in {folder} can be read ({'; '.join(problems)}); start in another folder"
        )
    return None


@checks.arguments
def save_model(path: Path | str, model: Model, layout: Layout, *, rounds: int | None = None) -> None:
    """Write a model as named tensors, atomically, in a format that `torch` and others can read.

    `module.load_state_dict(safetensors.torch.load_file(path))` loads it: the names
    are those of the module. Buffers that are never sent (BatchNorm's batch
    counter) have their initial values; tied tensors are stored under each of
    their names.

    Args:
        path: of the safetensors file.
        model: its values.
        layout: names and shapes; a trainer has it (`TorchTrainer(task).layout`).
        rounds: planned number of rounds, if this is the final model of a run; 0
            if the run ended early; `None` if it is not a run's final model.

    Raises:
        ValueError: an argument has the wrong type, or the model does not have this layout.
        OSError: it cannot be written.
    """
    file = checks.path(path=path)
    checks.kind(Model, model=model)
    checks.kind(Layout, ", such as TorchTrainer(task).layout", layout=layout)
    if rounds is not None:
        checks.whole(0, rounds=rounds)
    check_sizes(model, layout, "model")
    header = None if rounds is None else {_HEADER: json.dumps({"rounds": rounds})}
    write_whole(file, save(contiguous(named_tensors(model, layout)), header))


@checks.arguments
def load_model(path: Path | str, layout: Layout) -> Model:
    """Load a model from named tensors in a safetensors file, or in the folder of a finished run.

    Tied tensors may have any of their names in the file, or several. Buffers that are never sent
    are not read.

    Raises:
        ValueError: there is no such file, or it holds another model; the error
            names the tensors that are missing, unexpected, or of a different shape or type.

    >>> import tempfile
    >>> layout, model = Layout.flat(3), Model(np.arange(3, dtype=np.float32))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_model(Path(folder) / "model.safetensors", model, layout)
    ...     load_model(Path(folder), layout).parameters.tolist()
    [0.0, 1.0, 2.0]
    """
    file = checks.path(path=path)
    checks.kind(Layout, ", such as TorchTrainer(task).layout", layout=layout)
    file = file / MODEL if file.is_dir() else file
    try:
        with safe_open(file, framework="numpy") as stored:
            arrays = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, TypeError) as error:
        there = "does not exist" if not file.exists() else f"cannot be read as safetensors: {error}"
        raise ValueError(
            f"the model {file} {there}; give a safetensors file, or the folder of a run that has one"
        ) from None
    try:
        return model_of(arrays, layout)
    except OtherTensors as error:
        raise ValueError(f"{file} holds another model: {error}") from None


def rounds_of_model(path: Path) -> int | None:
    """The planned number of rounds of the run whose final model this is, see `save_model`."""
    try:
        with safe_open(path, framework="numpy") as file:
            return int(json.loads((file.metadata() or {})[_HEADER])["rounds"])
    except (SafetensorError, OSError, TypeError, ValueError, KeyError):
        return None


def mark_model(path: Path, rounds: int) -> None:
    """Add the planned number of rounds to a final model's file that lacks it."""
    with safe_open(path, framework="numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    write_whole(path, save(arrays, {_HEADER: json.dumps({"rounds": rounds})}))


def _save_constants(path: Path, constants: Vector) -> None:
    """Write a model's constants if they are not stored yet."""
    if not path.is_file():
        write_whole(path, save(contiguous({"constants": constants})), mode=PRIVATE)


def _load_constants(folder: Path, named: str) -> Vector:
    with safe_open(folder / f"constants-{named}.safetensors", framework="numpy") as file:
        found: Vector = file.get_tensor("constants")
    if hash_constants(found) != named:
        raise ValueError(f"the constants of the model, constants-{named}.safetensors, have changed")
    return found


def _header(data: bytes) -> dict[str, Any]:
    """Hedgerow's part of the header of a safetensors file."""
    length = int.from_bytes(data[:8], "little")
    found: dict[str, Any] = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][_HEADER])
    return found


def _checkpoints(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if re.fullmatch(r"round-\d+\.safetensors", p.name))
