"""Messages that can be read and say something else: other values, keys and types where there were others."""

import json
from copy import deepcopy
from typing import Any

import numpy as np

from hedgerow.secure.codec import _read, encode
from hedgerow.wire import codec
from hedgerow.wire.content import Array, ArrayRecord, ConfigRecord, MetricRecord, Record
from tests.attacks.mutations import mutated

NUMBERS = (0, 1, -1, 7, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), 0.5, -0.0, 1e308, float("inf"), float("nan"))
LISTS = ([], [1, 2], [1.5], ["a", ""], [b""], [True])
SETTINGS = (*NUMBERS, True, "", "x" * 300, "\0\u202e", b"", b"\xff" * 9, *LISTS)
VALUES = (*NUMBERS, 10**400, None, True, "", "x" * 300, [], {}, [[]], {"": {}}, [1, "a", None])
PLAIN = (0, 1, 2**63, 2**64 - 1, "", "x" * 300, b"", bytes(32), bytes(64), (), ((),), ("a", b"b", 1))
ARRAYS = ("float32", "int64", "object", "", "<f4", "V8")


def one(things: Any, rng: np.random.Generator) -> Any:
    return things[int(rng.integers(0, len(things)))]


def bent_content(data: bytes, rng: np.random.Generator) -> bytes:
    """A content with up to three other settings, metrics, arrays or records."""
    content: dict[str, Record] = dict(codec.decode(data))
    for _ in range(rng.integers(1, 4)):
        name = one([*content, "x"], rng)
        match int(rng.integers(0, 8)):
            case 0:
                content.pop(name, None)
            case 1:
                content[name] = one((ConfigRecord(), ArrayRecord(), MetricRecord()), rng)
            case 2:
                content[one([*content, "hedgerow"], rng)] = content.pop(name, ConfigRecord())
            case _:
                content[name] = _bent_record(content.get(name, ConfigRecord()), rng)
    return codec.encode(content)


def _bent_record(record: Record, rng: np.random.Generator) -> Record:
    found: Any = type(record)(record)
    key = one([*found, "x"], rng)
    if int(rng.integers(0, 5)) == 0:
        found.pop(key, None)
    elif isinstance(record, ArrayRecord):
        old = found.get(key, Array("float32", (1,), "numpy.ndarray", b""))
        found[key] = one((
            Array(old.dtype, old.shape, old.stype, mutated(old.data, rng, old.data + b"\0")),
            Array(one(ARRAYS, rng), (int(rng.integers(0, 2**31)),), old.stype, old.data),
            Array(old.dtype, old.shape, one(("", "pickle"), rng), old.data),
        ), rng)  # fmt: skip
    elif isinstance(record, MetricRecord):
        found[key] = one((*NUMBERS, [], [1, 2], [0.5]), rng)
    else:
        found[key] = one(SETTINGS, rng)
    return found


def bent_json(data: bytes, rng: np.random.Generator) -> bytes:
    """JSON with up to three other values or keys."""
    found: Any = json.loads(data)
    for _ in range(rng.integers(1, 4)):
        if not isinstance(found, dict | list) or not found:
            break
        place: Any = found
        while True:
            key = one([*place] if isinstance(place, dict) else range(len(place)), rng)
            inner = place[key]
            if not isinstance(inner, dict | list) or not inner or rng.integers(0, 3) == 0:
                break
            place = inner
        match int(rng.integers(0, 4)):
            case 0 if isinstance(place, dict):
                del place[key]
            case 1 if isinstance(place, dict):
                place[one(("", "x", "name"), rng)] = deepcopy(place[key])
            case _:
                place[key] = deepcopy(one(VALUES, rng))
    return json.dumps(found).encode()


def bent_secure(data: bytes, rng: np.random.Generator) -> bytes:
    """A message of a secure aggregation with up to three other parts."""
    found, _ = _read(data, 0, 0)
    for _ in range(rng.integers(1, 4)):
        found = _bent_part(found, rng)
    return encode(found)


def _bent_part(value: Any, rng: np.random.Generator) -> Any:
    if not isinstance(value, tuple) or not value or rng.integers(0, 6) == 0:
        return one((*PLAIN, value), rng)
    at = int(rng.integers(0, len(value)))
    match int(rng.integers(0, 6)):
        case 0:
            return value[:at] + value[at + 1 :]
        case 1:
            return value + value[at : at + 1]
        case _:
            return (*value[:at], _bent_part(value[at], rng), *value[at + 1 :])
