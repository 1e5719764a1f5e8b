"""The register of identity keys as a file: reading it, its fingerprint, and changes line by line.

    # devices of the greenhouse
    kitchen = "9f2c... 64 hex digits"

Each client is one line, `name = "key"`, as `hedgerow enrol` prints it. A change
leaves all other lines alone, including comments, and writes the file whole or not
at all.
"""

import hashlib
import stat
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

import tomli_w

from hedgerow.files import who_else_can_write, write_whole
from hedgerow.secure.errors import Malformed
from hedgerow.secure.register import parse_register
from hedgerow.wording import did_you_mean

LONGEST_NAME = 200
"""Most characters in a client's name, as in messages."""


def load_register(file: Path) -> dict[str, bytes]:
    """Read `register.toml`; empty if it does not exist.

    Raises:
        Malformed: it cannot be read, or others on this machine can change it.
    """
    if not file.exists():
        return {}
    if why := who_else_can_write(file):
        raise Malformed(why)
    try:
        return parse_register(tomllib.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise Malformed(f"{file} cannot be read: {error}") from error


def register_line(name: str, key: bytes) -> str:
    """A client's line, without the newline.

    Raises:
        ValueError: the name is not allowed for a client.

    >>> register_line("kitchen", bytes(32))[:24]
    'kitchen = "0000000000000'
    """
    if not 0 < len(name) <= LONGEST_NAME or not name.isprintable() or name != name.strip():
        raise ValueError(
            f"the name is {name!r}; it must have 1 to {LONGEST_NAME} printable characters, with no"
            " space at either end"
        )
    return tomli_w.dumps({name: key.hex()}).rstrip("\n")


def read_line(line: str) -> tuple[str, bytes]:
    """`(name, key)` of a client's line.

    Raises:
        ValueError: it is not a client's line; the error shows what one looks like.
    """
    try:
        ((name, key),) = parse_register(tomllib.loads(line)).items()
        register_line(name, key)
    except (ValueError, Malformed) as error:
        why = "" if "unpack" in str(error) else f" ({error})"
        raise ValueError(
            f'{line.strip()[:100]!r} is not a line of a register{why}; it must be name = "64 hex digits", as'
            " hedgerow enrol prints it"
        ) from error
    return name, key


def add(file: Path, lines: Iterable[str]) -> tuple[list[str], dict[str, bytes]]:
    """Add clients to a register, which is created if missing; existing clients with the same key stay.

    Returns:
        The names that are new, and the whole register.

    Raises:
        ValueError: listing every mistake: an invalid line, a name that has another
            key, a key that has another name. Nothing is changed then.
        Malformed: the existing register cannot be read.
        OSError: it cannot be written; the old register stays.
    """
    register = load_register(file)
    new, mistakes = [], []
    for line in lines:
        try:
            name, key = read_line(line)
            if register.get(name) != key:
                _refuse_clash(register, name, key, file)
                register[name] = key
                new.append(name)
        except ValueError as error:
            mistakes.append(str(error))
    if mistakes:
        raise ValueError("\n".join([*mistakes, f"{file} is unchanged"]))
    if new:
        text = file.read_text(encoding="utf-8") if file.exists() else ""
        text += "\n" if text and not text.endswith("\n") else ""
        _write(file, text + "".join(f"{register_line(name, register[name])}\n" for name in new))
    return new, register


def remove(file: Path, names: Iterable[str]) -> dict[str, bytes]:
    """Remove clients from a register; returns the remaining ones.

    Raises:
        ValueError: a name is not in it, or its line does not have the form that
            `hedgerow register add` writes. Nothing is changed then.
        Malformed: the register cannot be read.
        OSError: it cannot be written; the old register stays.
    """
    register, gone = load_register(file), set(names)
    for name in sorted(gone):
        if name not in register:
            raise ValueError(
                f"{name!r} is not in {file}, which has {len(register)}"
                f" client{'s' * (len(register) != 1)}.{did_you_mean(name, register)}"
            )
    kept, found = [], set()
    for line in file.read_text(encoding="utf-8").splitlines(keepends=True):
        if (named := _named(line)) in gone:
            found.add(named)
        else:
            kept.append(line)
    if found != gone:
        raise ValueError(f"{min(gone - found)!r} does not have its own line in {file}; remove it by hand")
    _write(file, "".join(kept))
    return {name: key for name, key in register.items() if name not in gone}


def fingerprint(register: Mapping[str, bytes]) -> str:
    """A hash of 32 hex digits, 128 bits, that two registers share only if they hold the same names and keys.

    >>> fingerprint({"kitchen": bytes(32)})
    '192e5aba67b789f5967486359bc2eba4'
    """
    lines = "".join(f"{register_line(name, register[name])}\n" for name in sorted(register))
    return hashlib.sha256(lines.encode()).hexdigest()[:32]


def _refuse_clash(register: Mapping[str, bytes], name: str, key: bytes, file: Path) -> None:
    if name in register:
        raise ValueError(
            f"{name!r} is in {file} with the key {register[name].hex()[:16]}..., not the given"
            f" {key.hex()[:16]}...; if the device was set up again, remove it first: hedgerow register remove"
            f" {file} {name}"
        )
    owner = next((other for other, known in register.items() if known == key), None)
    if owner is not None:
        raise ValueError(
            f"the key of {name!r} is that of {owner!r}; each device needs its own: run hedgerow enrol on it,"
            " and copy no identity.key"
        )


def _named(line: str) -> str | None:
    """The client named in a line; `None` for a comment or a blank line."""
    try:
        return next(iter(tomllib.loads(line)), None)
    except tomllib.TOMLDecodeError:
        return None


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    # Everybody may read it, but a file that others can write would be refused.
    mode = stat.S_IMODE(file.stat().st_mode) if file.exists() else 0o644
    write_whole(file, text.encode(), mode=mode)
