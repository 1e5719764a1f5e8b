"""A kit: the file that invites one device; it holds no secrets of the device."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hedgerow.client.secure.register_file import register_line
from hedgerow.node.connection import check_address
from hedgerow.wording import shown


@dataclass(frozen=True)
class Kit:
    """What `hedgerow invite NAME` has written for a device.

    Attributes:
        federation: its name, 16 hex digits.
        name: of the device in the federation.
        address: of the coordinator, `https://host:port`.
        ca: CA certificates for the coordinator's, PEM; `None` for those that the system trusts.
        token: lets the device in once; `None` if the address is a SuperLink that accepts any key.
        administrator: public key that signs the register, 64 hex digits; `None` if there is none.
    """

    federation: str
    name: str
    address: str
    ca: str | None = None
    token: str | None = None
    administrator: str | None = None


def load_kit(file: Path) -> Kit:
    """Read a kit.

    Raises:
        ValueError: it is not a kit, or made for another version; the error says what to do.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        why = (isinstance(error, OSError) and error.strerror) or error
        raise ValueError(f"{file} cannot be read as a kit: {why}; ask for a new one") from error
    try:
        if not isinstance(found, dict):
            raise ValueError(f"it is {shown(found)}, not a table of names and values")
        kit = Kit(
            _text(found, "federation", r"[0-9a-f]{16}"),
            _text(found, "name", r"(?s).{1,200}"),
            _text(found, "address", r"\S{1,300}"),
            *(_text(found, key, r"(?s).+") if found.get(key) is not None else None
              for key in ("ca", "token", "administrator")),
        )  # fmt: skip
        register_line(kit.name, bytes(32))
        check_address(kit.address)
        _text(found, "hedgerow", r"0\.\d+(\.\d+)?")
    except ValueError as error:
        raise ValueError(f"{file} is not a kit: {error}; ask for one made by hedgerow invite") from error
    return kit


def _text(found: Any, key: str, pattern: str) -> str:
    value = found.get(key)
    if not isinstance(value, str) or not re.fullmatch(pattern, value):
        raise ValueError(f"{key} is {value!r:.60}")
    return value
