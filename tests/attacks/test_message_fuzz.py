"""Messages that somebody has changed are taken, or refused by a documented error, and none takes much memory.

`tests/attacks/fuzz.py` gives each decoder a million, with the results beside it.
"""

import json

import numpy as np
import pytest

from hedgerow.coordinator.http_types import Refused, json_object
from hedgerow.node.connection import Unreachable, _reason
from hedgerow.node.fleet import Fleet
from hedgerow.recipe.announcement import understand
from hedgerow.types import PayloadError
from hedgerow.wire import objects
from hedgerow.wire.arrays import pack_arrays
from hedgerow.wire.content import ConfigRecord
from hedgerow.wire.text import read_json
from tests.attacks.compressed import PIPELINES
from tests.attacks.decoders import DECODERS, Answering
from tests.attacks.fuzz import MILLION, allowed, fuzzed
from tests.described_runs import description

DEEP = b"[" * 100_000


@pytest.mark.parametrize("name", DECODERS)
def test_what_was_sent_is_taken(name):
    assert all(DECODERS[name].takes(data) for data in DECODERS[name].known)


@pytest.mark.filterwarnings("ignore")  # numpy's, of heads that an old Python could have written
@pytest.mark.parametrize("name", DECODERS)
def test_changed_messages_are_taken_or_refused_and_take_twice_their_bytes_at_most(name):
    found = fuzzed(name, 10_000 if name in PIPELINES else 2_000, seed=7)
    assert found.taken < found.messages
    assert found.beyond <= allowed(name)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", DECODERS)
def test_a_million_changed_messages_are_taken_or_refused_and_take_twice_their_bytes_at_most(name):
    assert fuzzed(name, MILLION, seed=8).beyond <= allowed(name)


def packed() -> tuple[str, objects.Objects]:
    return objects.pack({"a": pack_arrays({"x": np.ones(500, np.float32)}), "c": ConfigRecord({"b": 1})})


def altered(kind: bytes, change) -> tuple[str, objects.Objects]:
    """Objects of which one of that kind says something else of its children."""
    root, found = packed()
    (name,) = (each for each, data in found.items() if data.startswith(kind))
    head, _, body = found[name].partition(b"\0")
    new = change(json.loads(body))
    data = new if isinstance(new, bytes) else json.dumps(new).encode()
    return root, {**found, name: head.rpartition(b" ")[0] + f" {len(data)}".encode() + b"\0" + data}


@pytest.mark.parametrize(
    ("kind", "change", "told"),
    [
        (b"Array ", lambda told: {**told, "arraychunk_ids": [0] * 200_000}, "more than 2 times their bytes"),
        (b"ArrayRecord", lambda told: {f"{k}": told["x"] for k in range(9_000)}, "more than 2 times their"),
        (b"RecordDict", lambda told: {f"{k}": told["a"] for k in range(9_000)}, "more than 2 times their"),
        (b"Array ", lambda told: {**told, "shape": [float("inf")]}, "infinity"),
        (b"Array ", lambda told: DEEP, "nested too deeply"),
        (b"RecordDict", lambda told: DEEP, "nested too deeply"),
        (b"RecordDict", lambda told: b" " * 2**20 + b"{}", "at most 1,048,576 are read"),
        (b"RecordDict", lambda told: [1], "not a JSON object"),
    ],
)
def test_objects_that_would_unfold_to_much_or_cannot_be_read_are_refused(kind, change, told, monkeypatch):
    monkeypatch.setattr(objects, "_BESIDE", 2**20)
    with pytest.raises(PayloadError, match=told):
        objects.unpack(*altered(kind, change))


def test_an_array_of_zeros_which_is_sent_as_one_chunk_is_no_attack():
    zeros = {"z": pack_arrays({"z": np.zeros(2**22, np.float32)})}
    root, found = objects.pack(zeros)
    assert sum(map(len, found.values())) < 2**24
    assert objects.unpack(root, found) == zeros


def test_what_is_no_answer_of_a_server_is_one_that_the_node_waits_for_again():
    for data in (b"\xff", b"\x12\x05abc", DEEP):
        with pytest.raises(Unreachable, match="the server's answer to pull-messages cannot be read"):
            Fleet(Answering(data)).pull()
    assert _reason(DEEP).startswith("[[[")


def test_numbers_and_nesting_that_python_cannot_hold_are_refused_like_anything_else():
    with pytest.raises(ValueError, match="nested too deeply"):
        read_json(DEEP)
    with pytest.raises(Refused, match="is not JSON"):
        json_object(DEEP)
    for change in ({"seed": float("inf")}, {"data": {**description()["data"], "held_out": 10**400}}):
        with pytest.raises(ValueError, match="cannot be read: OverflowError"):
            understand(json.dumps(description(**change)))
