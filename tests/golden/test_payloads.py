"""The bytes of every payload are those that are committed: versions of Hedgerow understand each other."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from hedgerow.strategies import TRANSFORMS, decode, parse_pipeline
from hedgerow.types import Payload

MAKE = runpy.run_path(str(Path(__file__).with_name("make.py")))
FOLDERS: dict[Path, dict[str, str]] = MAKE["FOLDERS"]
PIPELINES = {name: text for pipelines in FOLDERS.values() for name, text in pipelines.items()}
FOLDER: Path = MAKE["FOLDER"]


def path_of(name: str) -> Path:
    (folder,) = (folder for folder, pipelines in FOLDERS.items() if name in pipelines)
    return folder / f"{name}.safetensors"


def test_there_is_one_file_for_each_pipeline_and_no_other() -> None:
    for folder, pipelines in FOLDERS.items():
        assert {path.name for path in folder.iterdir()} == {f"{name}.safetensors" for name in pipelines}
    assert [len(pipelines) for pipelines in FOLDERS.values()] == [42, 19]
    used = " ".join(PIPELINES.values())
    # What is masked is no payload: test_transcript.py has a whole round of it.
    assert [name for name in TRANSFORMS.names() if f"{name}(" not in used] == ["mask"]


@pytest.mark.parametrize("name", PIPELINES)
def test_encoding_gives_the_committed_bytes(name: str) -> None:
    golden = load_file(path_of(name))
    made = MAKE["arrays_of"](PIPELINES[name])
    assert sorted(made) == sorted(golden)
    for key, array in golden.items():
        assert (made[key].dtype, made[key].shape) == (array.dtype, array.shape), key
        assert made[key].tobytes() == array.tobytes(), key


@pytest.mark.parametrize("name", PIPELINES)
def test_the_committed_bytes_decode_to_the_committed_values(name: str) -> None:
    path = path_of(name)
    golden = load_file(path)
    with safe_open(path, "numpy") as file:
        pipeline = parse_pipeline(file.metadata()["pipeline"])
    assert pipeline.name == parse_pipeline(PIPELINES[name]).name
    rounds = range(1, MAKE["ROUNDS"] + 1)
    assert len(rounds) == 2
    for r in rounds:
        sent = {k.removeprefix(f"{r}/sent/"): a for k, a in golden.items() if k.startswith(f"{r}/sent/")}
        payload = Payload(sent, float(golden[f"{r}/weight"][0]))
        decoded = decode(pipeline, payload, MAKE["context"](r))
        assert decoded.tobytes() == golden[f"{r}/decoded"].tobytes()


@pytest.mark.parametrize(
    ("name", "head"), [("top-k-rice", range(32)), ("top-k-bitmap", [255]), ("top-k-quantize", range(32))]
)
def test_both_codes_of_positions_are_among_the_golden_files(name: str, head: range | list[int]) -> None:
    assert load_file(FOLDER / f"{name}.safetensors")["1/sent/indices"][0] in head


def test_the_golden_input_is_exact_and_has_every_sign() -> None:
    for r in (1, 2):
        x = MAKE["delta"](r)
        assert (x.astype(np.float64) * 2**14 % 1 == 0).all()
        assert (x > 0).any()
        assert (x < 0).any()
        assert np.abs(x).max() < 1
