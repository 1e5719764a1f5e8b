"""Graphs and their manifest are read as they were written, or refused in a sentence."""

import hashlib
import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.graphs.bundle import EVALUATE, MANIFEST, TRAIN, Graphs
from hedgerow.graphs.errors import BadGraphs


def graphs(train: bytes = b"train", evaluate: bytes = b"evaluate") -> Graphs:
    return Graphs.of({"recipe": "heart"}, {"kind": "train"}, train, {"kind": "evaluate"}, evaluate)


@given(train=st.binary(max_size=50), evaluate=st.binary(max_size=50))
def test_what_was_written_is_read(tmp_path_factory, train, evaluate):
    folder = tmp_path_factory.mktemp("graphs") / "new"
    one = graphs(train, evaluate)
    assert one.write(folder) == {TRAIN: len(train), EVALUATE: len(evaluate)}
    assert Graphs.read(folder) == one
    assert one.hash == hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
    assert one.manifest["recipe"] == "heart"
    assert one.manifest["graphs"][TRAIN]["kind"] == "train"


@given(name=st.sampled_from([TRAIN, EVALUATE]), place=st.integers(0, 7), bit=st.integers(0, 7))
def test_a_graph_with_one_bit_changed_is_refused_with_its_name(tmp_path_factory, name, place, bit):
    folder = tmp_path_factory.mktemp("graphs")
    graphs().write(folder)
    content = bytearray((folder / name).read_bytes())
    content[place % len(content)] ^= 1 << bit
    (folder / name).write_bytes(content)
    with pytest.raises(BadGraphs, match=f"{name} is not the graph that its manifest describes") as caught:
        Graphs.read(folder)
    assert str(folder) in str(caught.value)
    assert hashlib.sha256(content).hexdigest() in str(caught.value)


def test_a_change_anywhere_changes_the_hash():
    others = [
        graphs(b"other"),
        graphs(evaluate=b"other"),
        Graphs.of({"recipe": "mnist"}, {"kind": "train"}, b"train", {"kind": "evaluate"}, b"evaluate"),
    ]
    assert len({each.hash for each in (graphs(), *others)}) == 4


@pytest.mark.parametrize(
    "described",
    [b"", b"\xff", b"{", b"[" * 100_000, b"[]", b"{}", b'{"graphs": 1}', b'{"graphs": {"train.onnx": {}}}'],
    ids=lambda text: repr(text[:20]),
)
def test_a_manifest_that_is_none_is_refused_in_a_sentence(described):
    with pytest.raises(BadGraphs, match=r"^the manifest (cannot be read as JSON|has no graphs)") as caught:
        Graphs(described, b"train", b"evaluate")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("told", [None, 3, "0" * 64, ["0"]], ids=repr)
def test_a_hash_of_another_kind_is_no_hash(told):
    described = {"graphs": {TRAIN: {"sha256": told}, EVALUATE: {"sha256": told}}}
    with pytest.raises(BadGraphs, match="SHA-256"):
        Graphs(json.dumps(described).encode(), b"train", b"evaluate")


def test_a_missing_file_is_named(tmp_path):
    graphs().write(tmp_path)
    (tmp_path / EVALUATE).unlink()
    with pytest.raises(FileNotFoundError, match=EVALUATE):
        Graphs.read(tmp_path)


def test_a_device_reads_them_without_torch_flower_and_onnx(tmp_path):
    graphs().write(tmp_path)
    code = (
        "import sys; from pathlib import Path; from hedgerow.graphs.bundle import Graphs;"
        "Graphs.read(Path(sys.argv[1])); print(sorted({'torch', 'flwr', 'onnx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
