"""Kinds of bad reply, from one of four devices: what each changes, and what is then said of it."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hedgerow.wire.arrays import pack_arrays, read_array
from hedgerow.wire.content import Array, ArrayRecord, ConfigRecord, MetricRecord
from tests.faults.bad_replies.objects import OBJECTS
from tests.faults.bad_replies.wire_grid import Reply

LIE = "lie"
"""What is said of a reply that has the right form: nothing; it is bounded."""


@dataclass(frozen=True)
class Kind:
    """One kind.

    Attributes:
        edit: what the device does.
        says: a part of the reason it is dropped for; `LIE` where it counts.
        pipeline: of the run.
    """

    edit: Callable[[Reply], None]
    says: str
    pipeline: str = "weight_by_examples()"


def values(make: Callable[[np.ndarray], Any], name: str = "values") -> Callable[[Reply], None]:
    def edit(reply: Reply) -> None:
        arrays = {key: read_array(array) for key, array in reply.content["payload"].items()}
        reply.content["payload"] = pack_arrays({**arrays, name: np.asarray(make(arrays[name].copy()))})

    return edit


def put(place: int, value: float, name: str = "values") -> Callable[[Reply], None]:
    def make(array: np.ndarray) -> np.ndarray:
        array[place] = value
        return array

    return values(make, name)


def data(change: Callable[[Array], Array]) -> Callable[[Reply], None]:
    def edit(reply: Reply) -> None:
        reply.content["payload"] = ArrayRecord({"values": change(reply.content["payload"]["values"])})

    return edit


def payload(change: Callable[[dict[str, Array]], dict[str, Array]]) -> Callable[[Reply], None]:
    def edit(reply: Reply) -> None:
        reply.content["payload"] = ArrayRecord(change(dict(reply.content["payload"])))

    return edit


def metrics(**entries: Any) -> Callable[[Reply], None]:
    named = {key.replace("_", "-"): value for key, value in entries.items()}
    return entered("hedgerow.metrics", MetricRecord, named)


def config(**entries: Any) -> Callable[[Reply], None]:
    return entered("hedgerow", ConfigRecord, entries)


def entered(record: str, kind: type, entries: dict[str, Any]) -> Callable[[Reply], None]:
    def edit(reply: Reply) -> None:
        reply.content[record] = kind({**reply.content[record], **entries})

    return edit


def records(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Reply], None]:
    def edit(reply: Reply) -> None:
        reply.content = change(reply.content)

    return edit


def sent(**attributes: Any) -> Callable[[Reply], None]:
    def edit(reply: Reply) -> None:
        for name, value in attributes.items():
            setattr(reply, name, value)

    return edit


def giant(array: Array) -> Array:
    """The head of an array of 4 TB, and few bytes."""
    head = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }"
    padded = head + b" " * (118 - len(head) - 1) + b"\n"
    return Array(array.dtype, (10**12,), array.stype, b"\x93NUMPY\x01\x00\x76\x00" + padded + bytes(36))


def of_another(reply: Reply) -> None:
    reply.content = dict(reply.others[0])


def before(reply: Reply) -> None:
    reply.content = dict(reply.before)


def noise(array: np.ndarray) -> np.ndarray:
    drawn = np.random.default_rng(len(array)).normal(size=len(array)).astype(np.float32)
    return drawn * np.float32(np.linalg.norm(array) / np.linalg.norm(drawn))


BITS, TOP = "quantize(8)", "top_k(0.5)"
VALUES = {
    "a value that is NaN": Kind(put(0, math.nan), "1 of 9 values are not finite"),
    "an infinite value": Kind(put(3, -math.inf), "1 of 9 values are not finite"),
    "values near the largest float32": Kind(values(lambda a: a * 0 + np.float32(3e38)), "is allowed"),
    "values as float64": Kind(values(lambda a: a.astype(np.float64)), "is float64"),
    "values as whole numbers": Kind(values(lambda a: a.astype(np.int32)), "is int32"),
    "values as complex numbers": Kind(values(lambda a: a.astype(np.complex64)), "is complex64"),
    "values in the other byte order": Kind(values(lambda a: a.astype(">f4")), LIE),
    "values in two dimensions": Kind(values(lambda a: a.reshape(3, 3)), "one-dimensional"),
    "one value too few": Kind(values(lambda a: a[:-1]), "there are 8 values; there must be 9"),
    "a million values too many": Kind(
        values(lambda a: np.zeros(len(a) + 10**6, np.float32)), "it would take 4,000,"
    ),
    "one number": Kind(values(lambda a: a[0]), "one-dimensional"),
    "a pickled object": Kind(
        data(lambda a: Array("object", (1,), a.stype, b"\x80\x04K\x01.")), "cannot be read"
    ),
    "no array": Kind(payload(lambda arrays: {}), "the array 'values' is missing"),
    "an array under another name": Kind(payload(lambda a: {"value": a["values"]}), "'values' is missing"),
    "an array too many": Kind(payload(lambda a: {**a, "more": a["values"]}), "['more'] are left over"),
    "an array cut short": Kind(
        data(lambda a: Array(a.dtype, a.shape, a.stype, a.data[:-5])), "cannot be read"
    ),
    "an array with bytes after its end": Kind(
        data(lambda a: Array(a.dtype, a.shape, a.stype, a.data + bytes(4))), "cannot be read"
    ),
    "an array twice over": Kind(
        data(lambda a: Array(a.dtype, a.shape, a.stype, a.data * 2)), "cannot be read"
    ),
    "an array that claims 4 TB": Kind(data(giant), "cannot be decoded"),
    "an array in another format": Kind(data(lambda a: Array(a.dtype, a.shape, "zip", a.data)), "'zip'"),
    "codes of a quantiser cut short": Kind(values(lambda a: a[:-1]), "there are 8 bytes; 9 codes", BITS),
    "a negative scale": Kind(put(0, -1.0, "scales"), "a scale is negative or not finite", BITS),
    "a scale that is NaN": Kind(put(0, math.nan, "scales"), "a scale is negative or not finite", BITS),
    "a scale near the largest float32": Kind(put(0, 3e38, "scales"), "is allowed", BITS),
    "a scale too many": Kind(values(lambda a: np.append(a, a), "scales"), "scales; 9 values have", BITS),
    "positions that are none": Kind(values(lambda a: a * 0 + 255, "indices"), "the bitmap has 1 bytes", TOP),
}
FORM = {
    "no payload": Kind(records(lambda c: {k: v for k, v in c.items() if k != "payload"}), "it must have"),
    "no metrics": Kind(
        records(lambda c: {k: v for k, v in c.items() if k != "hedgerow.metrics"}), "it must have"
    ),
    "nothing": Kind(records(lambda c: {}), "the reply has records []"),
    "a record too many": Kind(records(lambda c: {**c, "more": MetricRecord({"n": 1})}), "it must have"),
    "a stream that nobody asked for": Kind(records(lambda c: {**c, "control": c["payload"]}), "it must have"),
    "buffers that the model has not": Kind(
        records(lambda c: {**c, "buffers": pack_arrays({"buffers": np.zeros(10**5, np.float32)})}),
        "it must have",
    ),
    "a record under another name": Kind(
        records(lambda c: {("load" if k == "payload" else k): v for k, v in c.items()}), "it must have"
    ),
    "a record of another kind": Kind(
        records(lambda c: {**c, "payload": MetricRecord({"values": 1.0})}), "ArrayRecord 'payload' is missing"
    ),
    "no examples": Kind(metrics(num_examples=0), "it trained on no examples"),
    "fewer than no examples": Kind(metrics(num_examples=-5), "number of examples is -5"),
    "2^62 examples": Kind(metrics(num_examples=2**62), "number of examples is 4611686018427387904"),
    "a weight of 10^12": Kind(metrics(weight=1e12), "weight is 1000000000000.0"),
    "a weight that is NaN": Kind(metrics(weight=math.nan), "weight is nan"),
    "a weight that is a list": Kind(metrics(weight=[1.0, 2.0]), "weight is [1.0, 2.0]"),
    "a loss that is NaN": Kind(metrics(**{"metric.loss": math.nan}), "metric 'loss' is nan"),
    "a loss of 10^308": Kind(metrics(**{"metric.loss": 1e308}), "at most 1e+30 counts"),
    "a loss that is a list": Kind(metrics(**{"metric.loss": [1.0]}), "must be one finite number"),
    "a thousand metrics": Kind(metrics(**{f"metric.{n}": 1.0 for n in range(1000)}), "it has 1001 metrics"),
    "a metric that is called nothing known": Kind(metrics(accuracy=1.0), "each must be called metric.NAME"),
    "a metric with control characters": Kind(
        metrics(**{"metric.\x1b[2J": 1.0}), "at most 100 printable ones are allowed"
    ),
    "a metric with a name of a megabyte": Kind(
        metrics(**{"metric." + "x" * 10**5: 1.0}), "at most 100 printable ones are allowed"
    ),
    "another round": Kind(config(round=77), "for round 77; round"),
    "a round that is a text": Kind(config(round="1"), "round is '1'"),
    "another device's name": Kind(config(client="heap-1"), "the reply is signed 'heap-1'"),
    "a name with control characters": Kind(config(client="heap-3\x1b[2J"), "printable characters"),
    "a name of a megabyte": Kind(config(client="x" * 10**5), "printable characters"),
}
TIMES = {
    "its reply of the round before": Kind(before, "was asked"),
    "another device's reply": Kind(of_another, "the reply is signed 'heap-"),
    "its reply twice": Kind(sent(copies=2), LIE),
    "its reply too late": Kind(sent(copies=0), "it did not reply in time"),
    "an error with control characters": Kind(
        sent(error="no\x1b]0;owned\x07 disk\r\nrun ends"), "it failed: no ]0;owned  disk  run ends"
    ),
    "an error of a megabyte": Kind(sent(error="x" * 10**6), "it failed: xxxx"),
    "an error that claims silence": Kind(
        sent(error="it did not reply in time"), "it failed: it did not reply in time"
    ),
}
LIES = {
    "10,000 times its update": Kind(values(lambda a: a * np.float32(1e4)), "at most 10 times"),
    "9 times its update": Kind(values(lambda a: a * np.float32(9)), LIE),
    "the opposite of its update": Kind(values(lambda a: -a), LIE),
    "9 times the opposite": Kind(values(lambda a: a * np.float32(-9)), LIE),
    "the same number everywhere": Kind(
        values(lambda a: np.full_like(a, np.linalg.norm(a) / math.sqrt(len(a)))), LIE
    ),
    "noise as large as its update": Kind(values(noise), LIE),
    "zeros": Kind(values(np.zeros_like), LIE),
    "numbers too small for a normal float32": Kind(values(lambda a: a * 0 + np.float32(1e-45)), LIE),
    "as many examples as are believed": Kind(metrics(weight=1e6, num_examples=2**40), LIE),
}
KINDS: dict[str, Kind] = {
    **VALUES, **FORM, **TIMES, **LIES,
    **{name: Kind(sent(objects=edit), says) for name, (edit, says) in OBJECTS.items()},
}  # fmt: skip
