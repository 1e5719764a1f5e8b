"""State with a checksum: a file of which a bit has changed is noticed, and never taken for what was written.

A disk may lose or change what lies on it, and a copy may be cut short. Bytes end with a line that has their
hash; a table of JSON has the hash as one more key. What was written without one, by an earlier version, is
taken as it is.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

_MARK = b"\n# sha256 "
_LENGTH = len(_MARK) + 64
_KEY = "sha256"


class Damaged(ValueError):
    """What is there is not what was written."""


def sealed(content: bytes) -> bytes:
    """Bytes with their checksum.

    >>> unsealed(sealed(b"state"))
    b'state'
    """
    return content + _MARK + hashlib.sha256(content).hexdigest().encode()


def unsealed(data: bytes, *, always: bool = False) -> bytes:
    """The bytes without their checksum; raises `Damaged` where it does not fit, or lacks and must not."""
    content, mark, found = data[:-_LENGTH], data[-_LENGTH:-64], data[-64:]
    if mark != _MARK and not always:
        return data
    if mark != _MARK or hashlib.sha256(content).hexdigest().encode() != found:
        raise Damaged("its checksum does not fit: it has changed since it was written")
    return content


def seal(table: Mapping[str, Any]) -> dict[str, Any]:
    """A table of JSON with its checksum.

    >>> check(json.loads(json.dumps(seal({"round": 3}))))
    {'round': 3}
    """
    return {**table, _KEY: _hash(table)}


def check(found: Any) -> Any:
    """The table without its checksum; raises `Damaged` where it does not fit."""
    if not isinstance(found, dict) or _KEY not in found:
        return found
    table = {key: value for key, value in found.items() if key != _KEY}
    if found[_KEY] != _hash(table):
        raise Damaged("its checksum does not fit: it has changed since it was written")
    return table


def _hash(table: Mapping[str, Any]) -> str:
    text = json.dumps(table, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
