"""A device with torch, one without it and two phones in one federation: what they send and learn."""

from tests.installs.mixed import played, with_torch, without_torch
from tests.installs.phones import NAMES, PHONES, InBrowser, skip_without


def test_phones_and_devices_with_torch_and_without_it_give_the_models_of_a_simulation(
    environment, tmp_path, capsys
):
    skip_without()
    python = {"attic": with_torch(), "barn": without_torch(environment("onnx"))}
    phones = {name: InBrowser() for name in NAMES}
    found = played(tmp_path, {**python, **phones}, 2, PHONES, ["--phones", str(len(NAMES))])
    with capsys.disabled():
        print("", *(f"{run}: {outcome}" for run, outcome in found["runs"].items()), sep="\n")
    assert found["replies"] == 4 * 4 * 2
    assert found["travelled"] == 3 * 4 + 1
