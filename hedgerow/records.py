"""The only conversion to and from Flower's records, and their size as Flower serialises them.

`hedgerow.wire` defines what a message holds; here, array data is passed on without a copy.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from flwr.common.serde import recorddict_to_proto

from hedgerow.types import Arrays
from hedgerow.wire import content as wire
from hedgerow.wire import sizes
from hedgerow.wire.arrays import pack_arrays, read_array

R = TypeVar("R", ArrayRecord, ConfigRecord, MetricRecord, RecordDict)


def to_flower(content: wire.Content) -> RecordDict:
    """A message's content as Flower's record, with the same bytes.

    >>> to_flower({"a": wire.ConfigRecord({"b": 1})})["a"]["b"]
    1
    """
    return filled(RecordDict(), {key: _to_flower(record) for key, record in content.items()})


def from_flower(records: RecordDict) -> wire.Content:
    """Undo `to_flower`."""
    return {key: _from_flower(record) for key, record in records.items()}


def measure(records: RecordDict) -> int:
    """Size of a record in bytes, as Flower serialises it."""
    return sizes.measure(records, _size_of)


def pack_state(state: Arrays) -> ArrayRecord:
    """A client's state as a record for Flower's context."""
    return _arrays_to_flower(pack_arrays(state))


def unpack_state(record: ArrayRecord) -> Arrays:
    """The state that `pack_state` packed; the arrays are read-only."""
    return {name: read_array(array) for name, array in _arrays_from_flower(record).items()}


def filled(record: R, items: Mapping[str, Any]) -> R:
    """The record with items added unchecked: their types are known to be right, and checking each takes
    longer than packing them."""
    record.__dict__["_data"].update(items)
    return record


def _size_of(key: str, record: Any) -> int:
    return int(recorddict_to_proto(RecordDict({key: record})).ByteSize())


def _to_flower(record: wire.Record) -> ArrayRecord | ConfigRecord | MetricRecord:
    if isinstance(record, wire.ArrayRecord):
        return _arrays_to_flower(record)
    if isinstance(record, wire.ConfigRecord):
        return filled(ConfigRecord(), record)
    return filled(MetricRecord(), record)


def _from_flower(record: ArrayRecord | ConfigRecord | MetricRecord) -> wire.Record:
    if isinstance(record, ArrayRecord):
        return _arrays_from_flower(record)
    if isinstance(record, ConfigRecord):
        return wire.ConfigRecord(record)
    return wire.MetricRecord(record)


def _arrays_to_flower(record: wire.ArrayRecord) -> ArrayRecord:
    arrays = {
        name: Array(dtype=a.dtype, shape=a.shape, stype=a.stype, data=a.data) for name, a in record.items()
    }
    return filled(ArrayRecord(), arrays)


def _arrays_from_flower(record: ArrayRecord) -> wire.ArrayRecord:
    return wire.ArrayRecord(
        {name: wire.Array(a.dtype, a.shape, a.stype, a.data) for name, a in record.items()}
    )
