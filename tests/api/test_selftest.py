"""What `hedgerow join KIT --selftest` measures, and what it says a device can take part in."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hedgerow.client.limits import Limits
from hedgerow.client.policy import Policy
from hedgerow.coordinator.members import invite
from hedgerow.node.kit import load_kit
from hedgerow.node.selftest import checks_of
from hedgerow.strategies import error_feedback, fedavg, quantize, top_k
from tests.coordinators import Coordinator
from tests.described_runs import MASKED, OPEN, Mean, announced, installed


@pytest.fixture
def real(tmp_path) -> Coordinator:
    return Coordinator.make(tmp_path)


def told(
    real: Coordinator, place: Path, policy: Policy, device=None, *, kit=None
) -> dict[str, tuple[bool, str]]:
    """What it says, by the word before the colon."""
    kit = kit or (load_kit(invite(real.folder, "kitchen", place)) if device is None else device.enrolled.kit)
    folder = place / "nobody" if device is None else device.folder
    found = list(checks_of(kit, folder, place / "own.csv", policy))
    assert all("\n" not in text for _, text in found)
    return {text.partition(": ")[0]: (well, text.partition(": ")[2]) for well, text in found}


def test_before_it_has_joined_a_device_measures_link_memory_and_step(real, tmp_path) -> None:
    (tmp_path / "own.csv").write_text("a,b,label\n1,2,no\n3,4,yes\n")
    policy = replace(Policy(), limits=Limits(memory=300, quiet=("00:00-23:59",)))
    with real.serving():
        found = told(real, tmp_path, policy)
    assert all(well for well, _ in found.values())
    link = found["link"][1]
    assert re.fullmatch(
        r"\d+ ms there and back, [\d.]+ MB a second from the coordinator, [\d.]+ MB to it", link
    )
    assert all(float(number) > 0.1 for number in re.findall(r"([\d.]+) MB", link))
    assert found["coordinator"][1].endswith("answers, and the clocks agree")
    assert re.fullmatch(r"\d+ MB are free, and this device gives 300 MB", found["memory"][1])
    assert "the hours 00:00-23:59 are quiet" in found["limits"][1]
    assert float(found["step"][1].partition(" ms")[0]) > 0
    assert "under a mask in cohorts of 10 or more, of which 20 % may work" in found["runs"][1]
    assert not (tmp_path / "nobody").exists()


@pytest.mark.parametrize(
    ("strategy", "how"),
    [(fedavg(), "in the clear"), (MASKED, "under a mask"),
     (fedavg(pipeline=error_feedback(top_k(0.5), quantize(4))), "in the clear")],
    ids=["plain", "masked", "residuals"],
)  # fmt: skip
def test_of_a_run_it_says_whether_it_is_answered_and_what_a_round_takes(
    real, tmp_path, strategy, how
) -> None:
    device, about = real.device(tmp_path), announced(strategy=strategy)
    device.learn(about.digest, about.description)
    before = sorted(device.folder.rglob("*"))
    with installed(), real.serving():
        found = told(real, tmp_path, OPEN, device)
        assert Mean.fits == 3
        strict = told(real, tmp_path, Policy(), device)
    assert found["policy"][0], found
    assert found["policy"][1].endswith(f"is answered, {how}")
    assert found["model"][0]
    assert re.search(r"it fits: this program took \d+ MB at most while it trained", found["model"][1])
    assert re.search(r"which are 1 steps .* come and .* go, which take [\d.]+ s over", found["round"][1])
    assert not strict["policy"][0]
    assert "is refused: rule " in strict["policy"][1]
    assert sorted(device.folder.rglob("*")) == before, "nothing is kept"
    assert real.link.calls == []


def test_what_a_device_cannot_train_is_said_in_a_sentence(real, tmp_path) -> None:
    device, about = real.device(tmp_path), announced(run={"trainer": "loop-9", "precision": "float32"})
    device.learn(about.digest, about.description)
    with real.serving():
        found = told(real, tmp_path, OPEN, device)
    assert not found["model"][0]
    assert "this device cannot train it" in found["model"][1]
    no_memory = patched_fit(MemoryError())
    about = announced(seed=1)
    device.learn(about.digest, about.description)
    with installed(), no_memory, real.serving():
        found = told(real, tmp_path, OPEN, device)
    assert found["model"] == (False, "it does not fit into the memory of this device")


def patched_fit(error: Exception):
    patch = pytest.MonkeyPatch()

    def failing(*given, **options):
        raise error

    patch.setattr(Mean, "fit", failing)

    class Undone:
        def __enter__(self):
            return self

        def __exit__(self, *exception):
            patch.undo()

    return Undone()


def test_a_coordinator_that_is_not_there_and_one_of_another_clock_are_told(
    real, tmp_path, monkeypatch
) -> None:
    (tmp_path / "own.csv").write_text("a,b,label\n1,2,no\n")
    kit = load_kit(invite(real.folder, "kitchen", tmp_path))
    assert not told(real, tmp_path, OPEN, kit=kit)["coordinator"][0]
    from hedgerow.coordinator import http

    monkeypatch.setattr(http, "formatdate", lambda usegmt: "Sun, 29 Nov 2020 12:00:00 GMT")
    with real.serving():
        well, text = told(real, tmp_path, OPEN, kit=kit)["clock"]
    assert not well
    assert re.match(r"\+\d+ s from the coordinator's; set it", text)


CONFINED = """
import os
import numpy as np
from hedgerow.client.limits import Limits
from hedgerow.node.confinement import confine

print(confine(Limits(memory=600, threads=1))["OMP_NUM_THREADS"], len(os.sched_getaffinity(0)))
np.ones(10**7)
try:
    np.ones(10**8)
except MemoryError:
    print("refused")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of memory and cores are Linux's")
def test_a_node_can_allocate_and_compute_no_more_than_its_device_gives(tmp_path) -> None:
    command = [sys.executable, "-c", CONFINED]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1", "1", "refused"]
