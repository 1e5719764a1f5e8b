"""Record the replies that count in each round.

In the folder of a recorded run, `replies/` holds

    start/                 the server's state before the first recorded round
    round-000001.zip       round.json, and a safetensors file for each reply that counts, or one
                           of the sum if the server saw only that
"""

import json
import logging
import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, final

import numpy as np
from flwr.app import Message
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from hedgerow import records
from hedgerow.files import PRIVATE, private_folder, write_whole
from hedgerow.server.checkpoint import load_checkpoint, save_checkpoint
from hedgerow.server.collected import Collected
from hedgerow.server.collector import Collector, StartCollector
from hedgerow.strategies.strategy import Strategy
from hedgerow.types import Arrays, Layout, Payload, ServerState
from hedgerow.types.recording import Recording
from hedgerow.wire.replies import Reply, unpack_reply

log = logging.getLogger("hedgerow")

FOLDER = "replies"
_START, _FACTS, _SUM = "start", "round.json", "sum.safetensors"
_PAYLOAD, _STREAM, _HEADER = "payload.", "stream.", "hedgerow"
_LEVEL = 6


class RecordingError(ValueError):
    """The recording of a run is missing, incomplete, or of another run."""


@final
@dataclass(frozen=True)
class StartKeeping:
    """Makes collectors that keep the replies that count, for runs in which the server may see them."""

    inner: StartCollector

    @property
    def strategy(self) -> Strategy:
        """The strategy of the run."""
        return self.inner.strategy

    @property
    def layout(self) -> Layout:
        """The layout of the model."""
        return self.inner.layout

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return self.inner.seed

    def __call__(self, round: int, clients: int, *bounds: Any) -> "KeepingCollector":
        """A collector for one round of a cohort of `clients` clients."""
        return KeepingCollector(self.inner(round, clients, *bounds), self, round)


@final
class KeepingCollector:
    """A collector that also keeps each reply that counts, as bytes."""

    def __init__(self, inner: Collector, start: StartKeeping, round: int) -> None:
        self._inner, self._start, self._round = inner, start, round
        self.collected: Collected = inner.collected
        self.result, self.streams, self.recorded = inner.result, inner.streams, inner.recorded
        self.bounding = inner.bounding

    def add(self, client: str, reply: Message | Reply | None) -> None:
        """Add a client's reply, or drop the client by name."""
        before = self.collected.counted
        self._inner.add(client, reply)
        if self.collected.counted == before or reply is None:
            return
        try:
            self.collected.kept[client] = pack(self._opened(client, reply))
        except Exception as error:  # a plug-in's array that safetensors does not support must not end the run
            log.warning("the reply of %s in round %d is not recorded: %s", client, self._round, error)

    def _opened(self, client: str, reply: Message | Reply) -> Reply:
        if isinstance(reply, Reply):
            return reply
        strategy, layout = self._start.strategy, self._start.layout
        sizes = {s.name: s.size(layout) for s in strategy.all_streams if s.size(layout)}
        return unpack_reply(
            records.from_flower(reply.content), layout,
            round=self._round, client=client, max_weight=strategy.largest_weight, streams=sizes,
        )  # fmt: skip


def pack(reply: Reply) -> bytes:
    """A reply as a safetensors file."""
    arrays = {_PAYLOAD + name: values for name, values in reply.payload.arrays.items()}
    arrays |= {_STREAM + name: values for name, values in reply.streams.items()}
    facts = {
        "weight": reply.payload.weight, "examples": reply.num_examples, "metrics": dict(reply.metrics),
    }  # fmt: skip
    return _saved(arrays, {_HEADER: json.dumps(facts)})


def unpack(data: bytes) -> Reply:
    """Undo `pack`; raises `ValueError`, `KeyError` or `SafetensorError`."""
    arrays = load(data)
    length = int.from_bytes(data[:8], "little")
    facts = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][_HEADER])
    payload, streams = (
        {name.removeprefix(part): values for name, values in arrays.items() if name.startswith(part)}
        for part in (_PAYLOAD, _STREAM)
    )
    return Reply(Payload(payload, facts["weight"]), streams, facts["examples"], facts["metrics"])


@final
@dataclass(frozen=True)
class Recorder:
    """Writes and reads the recording of a run.

    Attributes:
        folder: `replies` in the run's folder.
        layout: of the model.
        seed: of the run.
    """

    folder: Path
    layout: Layout
    seed: int

    def begin(self, state: ServerState) -> None:
        """Prepare to record the rounds after a state; a complete recording up to that state is kept.

        Raises:
            OSError: it cannot be written.
            CheckpointError: the folder holds the recording of another run.
        """
        private_folder(self.folder)
        start, there = self._start(), self._rounds()
        if start is not None and start.round <= state.round:
            if set(range(start.round + 1, state.round + 1)) <= set(there):
                self._forget(number for number in there if number > state.round)
                return
            log.warning(
                "not every round up to %d was recorded: the recording starts again after it", state.round
            )
        self._forget(there)
        for file in (self.folder / _START).glob("*"):
            file.unlink()
        # A private state holds the noise of earlier rounds, which would reveal their sums without noise.
        save_checkpoint(self.folder / _START, replace(state, private={}), self.layout, seed=self.seed)

    def __call__(self, found: Recording) -> None:
        """Record a round, replacing an earlier recording of it; if that fails, the run continues."""
        try:
            write_whole(self._file(found.round), _zipped(found), mode=PRIVATE)
        except OSError as error:
            log.warning("round %d is not recorded: %s; the run continues", found.round, error)

    def start(self) -> ServerState:
        """The state before the first recorded round; raises `RecordingError` if there is none."""
        found = self._start()
        if found is None:
            raise RecordingError(
                f"{self.folder.parent} was not recorded; run it with --record, or [run] record = true"
            )
        return found

    def read(self) -> Iterable[Recording]:
        """Every recorded round, in order.

        Raises:
            RecordingError: one is missing, or cannot be read.
        """
        numbers = self._rounds()
        for expected, number in enumerate(numbers, self.start().round + 1):
            if number != expected:
                raise RecordingError(
                    f"round {expected} of {self.folder.parent} was not recorded, but round {number} was;"
                    " without it the model cannot be computed again"
                )
            yield self._read(number)

    def _read(self, number: int) -> Recording:
        file = self._file(number)
        try:
            with zipfile.ZipFile(file) as archive:
                facts = json.loads(archive.read(_FACTS))
                names: Mapping[str, str] = facts.pop("replies")
                replies = {client: archive.read(name) for client, name in names.items()}
                arrays = load(archive.read(_SUM)) if facts.pop("sum") else {}
            return Recording(**{**facts, "cohort": tuple(facts["cohort"])}, replies=replies, arrays=arrays)
        except (OSError, zipfile.BadZipFile, SafetensorError, ValueError, KeyError, TypeError) as error:
            raise RecordingError(f"{file} cannot be read: {error}; restore it from a copy") from error

    def _start(self) -> ServerState | None:
        return load_checkpoint(self.folder / _START, self.layout, seed=self.seed)

    def _file(self, number: int) -> Path:
        return self.folder / f"round-{number:06d}.zip"

    def _rounds(self) -> list[int]:
        found = (re.fullmatch(r"round-(\d+)\.zip", file.name) for file in self.folder.glob("round-*"))
        return sorted(int(name[1]) for name in found if name)

    def _forget(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self._file(number).unlink(missing_ok=True)


def _zipped(found: Recording) -> bytes:
    """A round's recording as one file; the same recording gives the same bytes."""
    names = {client: f"{place:06d}.safetensors" for place, client in enumerate(sorted(found.replies))}
    facts = {
        "round": found.round, "cohort": found.cohort, "clients": found.clients, "counted": found.counted,
        "dropped": dict(sorted(found.dropped.items())), "failed": found.failed,
        "replies": names, "sum": bool(found.arrays),
        **({"versions": dict(sorted(found.versions.items()))} if found.versions else {}),
    }  # fmt: skip
    parts = {_FACTS: json.dumps(facts, indent=1).encode()}
    parts |= {name: found.replies[client] for client, name in names.items()}
    if found.arrays:
        parts[_SUM] = _saved(found.arrays)
    whole = BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
        for name, data in parts.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED, _LEVEL)
    return whole.getvalue()


def _saved(arrays: Arrays, header: dict[str, str] | None = None) -> bytes:
    # safetensors writes the memory as it is laid out; unlike ascontiguousarray, this keeps 0-d arrays.
    whole: dict[str, NDArray[Any]] = {name: np.asarray(a, order="C") for name, a in arrays.items()}
    return bytes(save(whole, header))
