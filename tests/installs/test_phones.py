"""A device with torch, one without it and two phones in one federation: what they send and learn."""

import json

from hedgerow.coordinator.phone_build import build_folder, load
from tests.installs.mixed import played, with_torch, without_torch
from tests.installs.phones import NAMES, PHONES, PRIVATE, InBrowser, skip_without, why_there_is_no_page


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
    releases = (tmp_path / PRIVATE / "privacy.jsonl").read_text().splitlines()
    assert [json.loads(line)["noise"] for line in releases] == ["system"] * 2


def test_an_installed_coordinator_has_the_page_that_was_built_or_says_what_builds_one(environment):
    done = environment("server").run("hedgerow", "phones-page")
    if why := why_there_is_no_page():
        assert (done.returncode, "make web" in done.stderr) == (1, True), why
        return
    assert (done.returncode, f"build {load(build_folder()).hash}" in done.stderr) == (0, True), done.stderr
