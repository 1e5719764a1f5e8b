"""The size of a message in bytes, without re-encoding records whose size is known."""

from collections.abc import Callable, Mapping
from typing import Any

from hedgerow.wire.codec import size_of

_REMEMBERED, _LONG = 64, 10_000
_sizes: dict[Any, int] = {}


def measure(content: Mapping[str, Mapping[str, Any]], size_of: Callable[[str, Any], int] = size_of) -> int:
    """Bytes of a content.

    Its records are serialised one by one, and their sizes add up. Of records that differ
    only in numbers of the same encoded size, only the first is serialised.

    Args:
        size_of: returns the bytes of one record; by default, of a plain one.
    """
    total = 0
    for key, record in content.items():
        form = key, type(record), tuple((name, *_form(value)) for name, value in record.items())
        size = known(form)
        if size is None:
            size = size_of(key, record)
            data = sum(len(value.data) for value in record.values() if hasattr(value, "stype"))
            if size - data < _LONG:  # long values that may come from outside are not remembered
                remember(form, size)
        total += size
    return total


def known(form: Any) -> int | None:
    """The size of content with this form, if it is remembered."""
    return _sizes.get(form)


def remember(form: Any, size: int) -> None:
    """Remember the size of content with this form."""
    if len(_sizes) >= _REMEMBERED:
        _sizes.clear()
    _sizes[form] = size


def _form(value: Any) -> tuple[Any, ...]:
    """Everything that determines how many bytes a value takes."""
    if isinstance(value, float):
        return (float,)
    if type(value) is int and value >= 0:
        return int, value.bit_length()  # a varint: as many groups of 7 bits as it needs
    if isinstance(value, str | bytes):
        return type(value), len(value.encode() if isinstance(value, str) else value)
    if hasattr(value, "stype"):  # an array
        return value.dtype, value.shape, value.stype, len(value.data)
    if isinstance(value, list):
        return list, *map(type, value[:1]), *value
    return type(value), value
