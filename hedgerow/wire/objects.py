"""A message's content as Flower stores it: a tree of objects, each identified by the hash of its bytes.

An object is `TYPE CHILDREN LENGTH\\0BODY`, where the children are ids, and an id is the SHA-256 of
the whole object. A content is

    RecordDict       JSON {name: id}, over one object for each record
      ArrayRecord    JSON {name: id}, over one object for each array
        Array        JSON {dtype, shape, stype, arraychunk_ids}, over its chunks
          ArrayChunk at most 5 MiB of the array's bytes
      ConfigRecord, MetricRecord   Protocol Buffers, as in `wire.schema`
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias, final

from hedgerow.types import PayloadError
from hedgerow.wire.codec import decode_record, encode_record
from hedgerow.wire.content import Array, ArrayRecord, ConfigRecord, Content, MetricRecord, Record
from hedgerow.wire.text import read_json

CHUNK = 5 * 2**20
"""Most bytes of an array in one object."""

_TIMES, _BESIDE, _SMALL_VALUES = 2, 2**28, 32
"""A content may take so many times the bytes of its objects, and as many more: a chunk of zeros is sent once.
Of small values, each takes many times its bytes."""

_LARGEST_HEAD = 2**20

Objects: TypeAlias = dict[str, bytes]
"""`{id: bytes}`, children before their parents."""

_PLAIN: dict[str, type[ConfigRecord] | type[MetricRecord]] = {
    "ConfigRecord": ConfigRecord,
    "MetricRecord": MetricRecord,
}


def object_id(data: bytes) -> str:
    """The id of an object, 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def add(objects: Objects, kind: str, children: Iterable[str], body: bytes) -> str:
    """Add one object, and return its id.

    >>> objects = {}
    >>> add(objects, "RecordDict", [], b"{}")[:8], objects.popitem()[1]
    ('a5fc9cb0', b'RecordDict  2\\x00{}')
    """
    head = f"{kind} {','.join(dict.fromkeys(children))} {len(body)}\0".encode()
    data = head + body
    found = object_id(data)
    objects[found] = data
    return found


def pack(content: Content) -> tuple[str, Objects]:
    """The id of a content, and all its objects."""
    objects: Objects = {}
    records = {name: _pack_record(objects, record) for name, record in content.items()}
    return add(objects, "RecordDict", records.values(), _json(records)), objects


def unpack(root: str, objects: Mapping[str, bytes]) -> Content:
    """Undo `pack`.

    Raises:
        PayloadError: an object is missing or invalid, or the content would take more than twice the bytes
            of the objects, and 256 MiB more.
    """
    try:
        return _Unpacking(objects).content(root)
    except (KeyError, IndexError, TypeError, ValueError, OverflowError) as error:
        raise PayloadError(f"the message's objects cannot be read: {error}") from error


def children(data: bytes) -> list[str]:
    """The ids of an object's children; raises `ValueError` if it is not an object."""
    return _parts(data)[1]


def _pack_record(objects: Objects, record: Record) -> str:
    if not isinstance(record, ArrayRecord):
        return add(objects, type(record).__name__, (), encode_record(record))
    arrays = {name: _pack_array(objects, array) for name, array in record.items()}
    return add(objects, "ArrayRecord", arrays.values(), _json(arrays))


def _pack_array(objects: Objects, array: Array) -> str:
    data = array.data
    chunks = [add(objects, "ArrayChunk", (), data[at : at + CHUNK]) for at in range(0, len(data), CHUNK)]
    places = {chunk: place for place, chunk in enumerate(dict.fromkeys(chunks))}
    about = {
        "dtype": array.dtype, "shape": array.shape, "stype": array.stype,
        "arraychunk_ids": [places[chunk] for chunk in chunks],
    }  # fmt: skip
    return add(objects, "Array", chunks, _json(about))


@final
class _Unpacking:
    """Reads objects, which may name one another many times, into no more memory than it allows.

    Its methods raise `ValueError`, and the errors of what is no object of the wanted form.
    """

    def __init__(self, objects: Mapping[str, bytes]) -> None:
        self._objects = objects
        self._room = _TIMES * sum(map(len, objects.values())) + _BESIDE

    def content(self, root: str) -> Content:
        _, _, body = _parts(self._objects[root], "RecordDict")
        return {str(name): self._record(self._objects[each]) for name, each in _names(body).items()}

    def _record(self, data: bytes) -> Record:
        kind, _, body = _parts(data)
        self._take(_SMALL_VALUES * len(body))
        if kind in _PLAIN:
            return decode_record(_PLAIN[kind], body)
        _parts(data, "ArrayRecord")
        return ArrayRecord({str(name): self._array(self._objects[at]) for name, at in _names(body).items()})

    def _array(self, data: bytes) -> Array:
        _, chunks, body = _parts(data, "Array")
        about = _head(body)
        places = about["arraychunk_ids"]
        if not all(type(place) is int and 0 <= place < len(chunks) for place in places):
            raise ValueError("an array's chunks do not match its head")
        self._take(_SMALL_VALUES * len(body) + sum(len(self._objects[chunks[place]]) for place in places))
        whole = b"".join(_parts(self._objects[chunks[place]], "ArrayChunk")[2] for place in places)
        return Array(str(about["dtype"]), tuple(int(n) for n in about["shape"]), str(about["stype"]), whole)

    def _take(self, size: int) -> None:
        self._room -= size
        if self._room < 0:
            raise ValueError(f"they would take more than {_TIMES} times their bytes, and {_BESIDE:,} more")


def _parts(data: bytes, wanted: str | None = None) -> tuple[str, list[str], bytes]:
    """Type, children and body of an object, which must have the wanted type."""
    head, divider, body = data.partition(b"\0")
    kind, ids, length = head.decode("ascii").split(" ")
    if not divider or int(length) != len(body) or (wanted is not None and kind != wanted):
        raise ValueError(
            f"an object is a {kind[:40]} of {len(body)} bytes, but should be a {wanted or 'record'}"
        )
    return kind, ids.split(",") if ids else [], body


def _names(body: bytes) -> dict[str, str]:
    found = _head(body)
    if not isinstance(found, dict):
        raise ValueError("a record's names are not a JSON object")
    return found


def _head(body: bytes) -> Any:
    """What an object says of its children; JSON takes many times its bytes in memory."""
    if len(body) > _LARGEST_HEAD:
        raise ValueError(f"an object's head has {len(body):,} bytes; at most {_LARGEST_HEAD:,} are read")
    return read_json(body)


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
