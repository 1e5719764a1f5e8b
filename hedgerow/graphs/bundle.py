"""The graphs of a task with their manifest, as `hedgerow export` writes them into a folder."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, final

from hedgerow.files import naming, write_whole
from hedgerow.graphs.errors import BadGraphs
from hedgerow.wire.text import read_json
from hedgerow.wording import first_line, shown

TRAIN, EVALUATE, MANIFEST = "train.onnx", "evaluate.onnx", "manifest.json"
"""Names of the files, and of the graphs in the manifest."""


@final
@dataclass(frozen=True)
class Graphs:
    """The graph that trains, the one that evaluates, and the manifest that holds the hash of each.

    Attributes:
        described: the manifest as it was written: JSON.
        train: one step of local training, for ONNX Runtime.
        evaluate: outputs, loss and metrics, for ONNX Runtime.

    Raises:
        BadGraphs: the manifest cannot be read, or a graph is not the one whose hash it has.

    >>> graphs = Graphs.of({"recipe": "heart"}, {}, b"one", {}, b"two")
    >>> graphs.manifest["graphs"]["train.onnx"]["sha256"][:8], graphs.hash[:8]
    ('7692c3ad', '2cb48798')
    """

    described: bytes
    train: bytes
    evaluate: bytes

    def __post_init__(self) -> None:
        for name, content in self.files.items():
            sha256 = hashlib.sha256(content).hexdigest()
            if sha256 != self.manifest["graphs"][name]["sha256"]:
                told = shown(self.manifest["graphs"][name]["sha256"])
                raise BadGraphs(
                    f"{name} is not the graph that its manifest describes: its SHA-256 is {sha256!r}, the"
                    f" manifest has {told}; take the files as `hedgerow export` wrote them"
                )

    @property
    def files(self) -> dict[str, bytes]:
        """Both graphs by name."""
        return {TRAIN: self.train, EVALUATE: self.evaluate}

    @cached_property
    def manifest(self) -> Mapping[str, Any]:
        """The manifest as plain data, with each graph's own under `["graphs"][name]`."""
        return _manifest(self.described)

    @cached_property
    def hash(self) -> str:
        """The SHA-256 of the manifest, and so of all, 64 hex digits: `sha256sum manifest.json` shows it."""
        return hashlib.sha256(self.described).hexdigest()

    @classmethod
    def of(
        cls,
        about: Mapping[str, Any],
        train_manifest: Mapping[str, Any],
        train: bytes,
        evaluate_manifest: Mapping[str, Any],
        evaluate: bytes,
    ) -> "Graphs":
        """Graphs under one manifest: what there is to say of both, then each one's own."""
        each = {TRAIN: (train_manifest, train), EVALUATE: (evaluate_manifest, evaluate)}
        own = {
            name: {**manifest, "sha256": hashlib.sha256(content).hexdigest()}
            for name, (manifest, content) in each.items()
        }
        return cls(json.dumps({**about, "graphs": own}, indent=1).encode(), train, evaluate)

    @classmethod
    def read(cls, folder: Path) -> "Graphs":
        """Read what `write` wrote.

        Raises:
            BadGraphs: a file is damaged, or from another export.
            OSError: a file is missing, or cannot be read.
        """
        described, train, evaluate = ((folder / name).read_bytes() for name in (MANIFEST, TRAIN, EVALUATE))
        try:
            return cls(described, train, evaluate)
        except BadGraphs as error:
            raise BadGraphs(f"{folder}: {error}") from None

    def write(self, folder: Path) -> dict[str, int]:
        """Write the files into a folder, which is made; the sizes of the graphs in bytes, by name.

        Raises:
            OSError: a file cannot be written.
        """
        with naming(folder):
            folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.files.items():
            write_whole(folder / name, content)
        write_whole(folder / MANIFEST, self.described)  # last: with it, all is there
        return {name: len(content) for name, content in self.files.items()}


def _manifest(described: bytes) -> Mapping[str, Any]:
    try:
        found: Any = read_json(described)
    except ValueError as error:
        raise BadGraphs(
            f"the manifest cannot be read as JSON ({first_line(error)}); take {MANIFEST} as"
            " `hedgerow export` wrote it"
        ) from None
    each = found.get("graphs") if isinstance(found, dict) else None
    if not isinstance(each, dict) or not all(
        isinstance(each.get(name), dict) and "sha256" in each[name] for name in (TRAIN, EVALUATE)
    ):
        raise BadGraphs(
            f"the manifest has no graphs {TRAIN!r} and {EVALUATE!r} with the SHA-256 of each; take {MANIFEST}"
            " as `hedgerow export` wrote it"
        )
    return dict(found)
