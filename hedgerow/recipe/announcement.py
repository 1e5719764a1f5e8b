"""How a server announces a run to a device, and how the device reads it: data, not code.

    {"strategy": as in `recipe.strategy`,
     "task": {"kind": "classification", "model": {"name": "mlp-2nn", "arguments": {...}}, "lora": null},
     "data": {"name": "own", ..., "input_shape": [2], "num_outputs": 2,
              "held_out": 0.2, "held_out_by": "row"},
     "run": {"trainer": "loop", "precision": "float32"},
     "graphs": as in `graphs.offer`, where devices without torch may train by graphs,
     "layout": "16 hex digits", "seed": 0}

It is sent as the record `hedgerow.description` of a message: in full when a device is asked for its
name, and afterwards only as its digest. A device keeps the descriptions that it knows.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from hedgerow.graphs.offer import Offer
from hedgerow.recipe.own_data import NAME, OwnSchema
from hedgerow.recipe.strategy import build
from hedgerow.strategies.strategy import Strategy
from hedgerow.types import PayloadError
from hedgerow.wire.bundle import READS
from hedgerow.wire.content import ConfigRecord, Content
from hedgerow.wire.text import read_json

RECORD = "hedgerow.description"

UNKNOWN = "unknown-description"
"""Start of a device's error for an unknown digest."""

_LARGEST = 2**20
_OF_DATA = ("name", "input_shape", "num_outputs", "held_out", "held_out_by")


@dataclass(frozen=True)
class Announcement:
    """A run as its server announces it.

    Attributes:
        description: canonical JSON.
        run: Hedgerow's name of the run, 32 hex digits, the same after a restart.
        version: of Hedgerow on the server.

    >>> Announcement.of({"b": 1, "a": 2}, run="0" * 32, version="0.1.0").description
    '{"a":2,"b":1}'
    """

    description: str
    run: str
    version: str = ""

    @classmethod
    def of(cls, description: Mapping[str, Any], *, run: str, version: str) -> Self:
        """The announcement of a description made of JSON values."""
        return cls(json.dumps(description, sort_keys=True, separators=(",", ":")), run, version)

    @property
    def digest(self) -> str:
        """SHA-256 of the description, 64 hex digits."""
        return digest_of(self.description)

    def whole(self) -> ConfigRecord:
        """The record for a device that may not know the description."""
        return ConfigRecord(
            {"digest": self.digest, "json": self.description, "run": self.run, "version": self.version,
             READS: True}
        )  # fmt: skip

    def short(self) -> ConfigRecord:
        """The record for a device that knows the description."""
        return ConfigRecord({"digest": self.digest, "run": self.run, READS: True})


@dataclass(frozen=True)
class Announced:
    """The record as a device reads it; `description` is empty if only the digest was sent."""

    digest: str
    run: str
    description: str = ""
    version: str = ""


def digest_of(description: str) -> str:
    """SHA-256 of the text in UTF-8, 64 hex digits."""
    return hashlib.sha256(description.encode()).hexdigest()


def read(content: Content) -> Announced:
    """Read a message's announcement of its run.

    Raises:
        PayloadError: it has none, or the description does not match the digest.
    """
    record = content.get(RECORD)
    if not isinstance(record, ConfigRecord):
        raise PayloadError(
            "the message does not say which run it belongs to: its server is older than this device, or not"
            " Hedgerow"
        )
    found = {key: record.get(key, "") for key in ("digest", "run", "json", "version")}
    if not all(isinstance(value, str) for value in found.values()):
        raise PayloadError(f"{RECORD} must have texts; it has {sorted(record)}")
    digest, run, text, version = map(str, found.values())
    if not _is_hex(digest, 64) or not _is_hex(run, 32):
        raise PayloadError("the digest must have 64 hex digits, and the name of a run 32")
    if len(text) > _LARGEST or (text and digest_of(text) != digest):
        raise PayloadError("the description is too long, or does not match its digest")
    return Announced(digest, run, text, version[:40])


@dataclass(frozen=True)
class Described:
    """The contents of a description, checked as far as possible without its parts.

    Attributes:
        strategy: of the run.
        kind: `"classification"` or `"regression"`.
        model: its name.
        arguments: of the model.
        lora: arguments of its adapters; `None` if it has none.
        low_rank: arguments of its low-rank layers; `None` if it has none.
        one_shot: arguments of its last layer, where that is computed; `None` if it is trained.
        schema: of the device's own data; `None` if the run is for another data set.
        data: name of the data set.
        input_shape: of one sample.
        num_outputs: number of values that a model returns for a sample.
        held_out: fraction of the samples to hold out for evaluation; `None` for none.
        held_out_by: how they are chosen.
        trainer, precision: of `[run]`.
        layout: fingerprint of the model's layout.
        seed: of the run.
        graphs: by which a device without torch may train; `None` if there are none.
    """

    strategy: Strategy
    kind: str
    model: str
    arguments: Mapping[str, Any]
    lora: Mapping[str, Any] | None
    low_rank: Mapping[str, Any] | None
    one_shot: Mapping[str, Any] | None
    schema: OwnSchema | None
    data: str
    input_shape: tuple[int, ...]
    num_outputs: int
    held_out: float | None
    held_out_by: str
    trainer: str
    precision: str
    layout: str
    seed: int
    graphs: Offer | None = None


def understand(description: str) -> Described:
    """Read a description.

    Raises:
        ValueError: it is not a description, or its strategy cannot be built; the error says why.
    """
    try:
        given = read_json(description)
        task, data, run = given["task"], given["data"], given["run"]
        schema = {key: value for key, value in data.items() if key not in _OF_DATA}
        model, held_out, graphs = task["model"], data["held_out"], given.get("graphs")
        return Described(
            build(given["strategy"]),
            _text(task["kind"]),
            _text(model["name"]),
            dict(model["arguments"]),
            None if task["lora"] is None else dict(task["lora"]),
            dict(task["low_rank"]) if "low_rank" in task else None,
            dict(task["one_shot"]) if "one_shot" in task else None,
            OwnSchema.from_json(schema) if data["name"] == NAME else None,
            _text(data["name"]),
            tuple(int(size) for size in data.get("input_shape", ())),
            int(data.get("num_outputs", 0)),
            None if held_out is None else float(held_out),
            _text(data["held_out_by"]),
            _text(run["trainer"]),
            _text(run["precision"]),
            _text(given["layout"]),
            int(given["seed"]),
            None if graphs is None else Offer.from_json(graphs),
        )
    except (KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(
            f"the description of the run cannot be read: {type(error).__name__}: {error}"
        ) from error


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return value


def _is_hex(text: str, digits: int) -> bool:
    return len(text) == digits and not set(text) - set("0123456789abcdef")
