"""Messages that somebody has changed are taken, or refused by a documented error, and none takes much memory.

`tests/attacks/fuzz.py` gives each decoder a million, with the results beside it.
"""

import json
import subprocess
import sys

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
from tests.attacks import fuzz
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


def test_a_campaign_goes_on_where_it_stopped(tmp_path, monkeypatch):
    name, file = "request of a device", tmp_path / "fuzz.json"
    monkeypatch.setattr(fuzz, "FILE", file)
    monkeypatch.setattr(fuzz, "PART", 20)
    for messages, seeds in ((20, [8]), (50, [8, 9, 10]), (50, [8, 9, 10])):
        monkeypatch.setattr(sys, "argv", ["fuzz", name, "--messages", str(messages), "--at-once", "1"])
        fuzz.main()
        found = json.loads(file.read_text())[name]
        assert (found["messages"], found["seeds"]) == (messages, seeds)


SMALL_VALUES = """
import ctypes
import gc
import sys
from pathlib import Path
from hedgerow.wire.bundle import MOST, small
from hedgerow.wire.codec import encode
from hedgerow.wire.content import Array, ArrayRecord, ConfigRecord

empty = Array("", (), "", b"")
data = encode({
    "records": {f"{i:x}": ConfigRecord() for i in range(MOST // 12)},
    "arrays": {"a": ArrayRecord({f"{i:x}": empty for i in range(MOST // 12)})},
    "numbers": {"a": ConfigRecord({"x": [1] * (MOST - 100)})},
}[sys.argv[1]])

def most():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024

small(encode({"a": ConfigRecord({"b": 1})}))
gc.collect()
ctypes.CDLL(None).malloc_trim(0)  # so that none of what encoding took is taken again
Path("/proc/self/clear_refs").write_text("5")
before = most()
assert small(data)
print(len(data) / MOST, (most() - before) / MOST)
"""


@pytest.mark.parametrize("kind", ["records", "arrays", "numbers"])
def test_a_message_in_one_piece_takes_a_fixed_amount_of_memory_however_it_is_filled(kind):
    """Of the whole process, for protobuf's own memory is not Python's."""
    told = subprocess.run(
        [sys.executable, "-c", SMALL_VALUES, kind], capture_output=True, text=True, check=True
    )
    size, taken = map(float, told.stdout.split())
    assert 0.8 < size <= 1
    assert 15 < taken < 34


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
