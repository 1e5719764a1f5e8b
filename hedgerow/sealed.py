"""State with a checksum, so that a file in which even one bit has changed is detected.

A disk may lose or change data, and a copy may be cut short. Bytes end with a line that holds their hash; a
JSON table holds the hash under an extra key. State that an earlier version wrote without a checksum is
accepted as it is.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

_MARK = b"\n# sha256 "
_LENGTH = len(_MARK) + 64
_KEY = "sha256"


class Damaged(ValueError):
    """The data is not what was written."""


def sealed(content: bytes) -> bytes:
    """Bytes with their checksum.

    >>> unsealed(sealed(b"state"))
    b'state'
    """
    return content + _MARK + hashlib.sha256(content).hexdigest().encode()


def unsealed(data: bytes, *, always: bool = False) -> bytes:
    """The bytes without their checksum; raises `Damaged` if it is wrong, or missing with `always`."""
    content, mark, found = data[:-_LENGTH], data[-_LENGTH:-64], data[-64:]
    if mark != _MARK and not always:
        return data
    if mark != _MARK or hashlib.sha256(content).hexdigest().encode() != found:
        raise Damaged("its checksum is wrong: it has changed since it was written")
    return content


def seal(table: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON table with its checksum.

    >>> check(json.loads(json.dumps(seal({"round": 3}))))
    {'round': 3}
    """
    return {**table, _KEY: _hash(table)}


def check(found: Any) -> Any:
    """The table without its checksum; raises `Damaged` if it is wrong."""
    if not isinstance(found, dict) or _KEY not in found:
        return found
    table = {key: value for key, value in found.items() if key != _KEY}
    if found[_KEY] != _hash(table):
        raise Damaged("its checksum is wrong: it has changed since it was written")
    return table


def _hash(table: Mapping[str, Any]) -> str:
    text = json.dumps(table, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
