"""A canonical encoding of values as bytes, for signing, hashing and sending."""

from collections.abc import Sequence
from dataclasses import is_dataclass
from functools import cache
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from hedgerow.secure.errors import Malformed
from hedgerow.secure.primitives import Secret

T = TypeVar("T")

_DEEPEST = 6
_MOST_BYTES = 2**26


def encode(value: Any) -> bytes:
    """Encode integers, strings, bytes, and sequences and dataclasses of them; the encoding is injective.

    >>> encode(("ab", 7)).hex()
    '740000000273000000026162690000000000000007'
    """
    kind = type(value)
    if kind is bytes or kind is Secret:
        return b"b" + len(value).to_bytes(4, "big") + value  # type: ignore[no-any-return]
    if kind is str:
        data = value.encode()
        return b"s" + len(data).to_bytes(4, "big") + data  # type: ignore[no-any-return]
    if kind is int:
        return b"i" + value.to_bytes(8, "big")  # type: ignore[no-any-return]
    parts = value if kind in (tuple, list) else [getattr(value, name) for name, _ in _fields(kind)]  # type: ignore[arg-type]
    return b"".join([b"t", len(parts).to_bytes(4, "big"), *map(encode, parts)])


def decode(kind: type[T], data: bytes) -> T:
    """Decode bytes as a dataclass of that kind.

    Raises:
        Malformed: they do not encode one.
    """
    if len(data) > _MOST_BYTES:
        raise Malformed(f"a message has {len(data)} bytes; at most {_MOST_BYTES} are allowed")
    value, end = _read(data, 0, 0)
    if end != len(data):
        raise Malformed(f"{len(data) - end} bytes are left over after {kind.__name__}")
    return _fit(value, kind, kind.__name__)  # type: ignore[no-any-return]


def _read(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    tag = data[at : at + 1]
    if tag == b"i":
        return int.from_bytes(_take(data, at + 1, 8), "big"), at + 9
    size, start = int.from_bytes(_take(data, at + 1, 4), "big"), at + 5
    if tag == b"b":
        return _take(data, start, size), start + size
    if tag == b"s":
        try:
            return _take(data, start, size).decode(), start + size
        except UnicodeDecodeError as error:
            raise Malformed(f"a string is not UTF-8: {error}") from error
    if tag != b"t" or depth >= _DEEPEST:
        raise Malformed(f"{tag!r} at byte {at}, {depth} deep, cannot be part of a message")
    items = []
    for _ in range(size):
        item, start = _read(data, start, depth + 1)
        items.append(item)
    return tuple(items), start


def _take(data: bytes, start: int, size: int) -> bytes:
    if start + size > len(data):
        raise Malformed(f"the message ends {start + size - len(data)} bytes too early")
    return data[start : start + size]


def _fit(value: Any, kind: Any, where: str) -> Any:
    if type(value) is kind:
        return value
    if kind is Secret and type(value) is bytes:
        return Secret(value)
    if get_origin(kind) is Annotated:
        base, size = get_args(kind)
        value = _fit(value, base, where)
        if len(value) != size:
            raise Malformed(f"{where} has {len(value)} bytes; it must have {size}")
        return value
    if is_dataclass(kind):
        parts = _fields(kind)  # type: ignore[arg-type]
        if not isinstance(value, tuple) or len(value) != len(parts):
            raise Malformed(f"{where} does not have {len(parts)} parts")
        return kind(*(_fit(v, k, n) for v, (n, k) in zip(value, parts, strict=True)))  # type: ignore[operator]
    if get_origin(kind) is tuple:
        item = get_args(kind)[0]
        if not isinstance(value, tuple):
            raise Malformed(f"{where} is {type(value).__name__}; it must be a sequence")
        return tuple(_fit(v, item, where) for v in value)
    raise Malformed(f"{where} is {type(value).__name__}; it must be {kind.__name__}")


@cache
def _fields(kind: Any) -> Sequence[tuple[str, Any]]:
    return [*get_type_hints(kind, include_extras=True).items()]
