"""A device with torch and two without it in one federation: what they send, and what comes of it."""

import platform

import pytest

from tests.installs import phones
from tests.installs.arm64 import Arm64, why_not
from tests.installs.mixed import on_arm64, played, with_torch, without_torch


def test_devices_with_torch_and_without_it_give_the_models_of_a_simulation(environment, tmp_path, capsys):
    if not phones.why_not():
        pytest.skip("test_phones.py shows the same, with two phones beside these devices")
    made = environment("onnx")
    assert made.importable("torch", "flwr", "onnx", "onnxruntime") == ["onnxruntime"]
    places = {"attic": with_torch(), "barn": without_torch(made), "cellar": without_torch(made)}
    took_part(played(tmp_path, places, rounds=2), capsys)


@pytest.mark.long
@pytest.mark.skipif(platform.machine() == "aarch64", reason="the test above runs on arm64 here")
def test_so_they_do_where_one_has_an_arm64_processor(environment, tmp_path, capsys):
    if why := why_not():
        pytest.skip(why)
    (tmp_path / "home").mkdir()
    made = Arm64.made().with_hedgerow(tmp_path)
    places = {"attic": with_torch(), "barn": without_torch(environment("onnx")), "pi": on_arm64(made)}
    took_part(played(tmp_path / "home", places, rounds=2), capsys)


def took_part(found, capsys) -> None:
    with capsys.disabled():
        print("", *(f"{run}: {outcome}" for run, outcome in found["runs"].items()), sep="\n")
    assert found["replies"] == 4 * 3 * 2
    assert found["travelled"] == 3 * 3 + 1
