"""A private run that is killed has never revealed more than its ledger says."""

import json
import random
import signal
import time
from pathlib import Path

import dp_accounting
import pytest
from dp_accounting.pld import PLDAccountant

from tests import forked

ROUNDS, KILLS = 24, 3
RATE, NOISE, DELTA = 0.25, 1.1, 1e-4

# Writes down each model as soon as the run lets it out, as somebody who watches would.
RUN = f"""
import hashlib, sys
from pathlib import Path
from hedgerow.client.app import client_app
from hedgerow.server.app import train
from hedgerow.simulation.grid import InProcessGrid
from hedgerow.strategies import dp_fedavg, poisson
from hedgerow.types import Deployment
from tests.support import MeanTrainer, clients

folder, seeded = Path(sys.argv[1]), sys.argv[2] == "seeded"
strategy = dp_fedavg(0.5, {NOISE}, {DELTA}, clip_quantile=0.5, sampling=poisson(5, population=20))
trainer, data = MeanTrainer(), clients(20)
with InProcessGrid(client_app(trainer, data, strategy), 20, names=data.names) as grid:
    for result in train(grid, strategy, trainer.initial(0), trainer.layout, num_rounds={ROUNDS},
                        folder=folder, deployment=Deployment.SIMULATED if seeded else Deployment.REAL):
        model = hashlib.sha256(result.state.model.parameters.tobytes()).hexdigest()
        with (folder / "watched.txt").open("a") as file:
            file.write(f"{{result.round}} {{model}} {{result.epsilon!r}}\\n")
"""


def run_to_the_end(folder: Path, noise: str) -> None:
    done = forked.run(RUN, folder, noise)
    assert done.returncode == 0, done.stderr


def kill_after(folder: Path, noise: str, rounds: int, seconds: float) -> None:
    watched, stderr = folder / "watched.txt", folder.with_name(f"{folder.name}-stderr")

    def lines() -> int:
        return watched.read_bytes().count(b"\n") if watched.exists() else 0

    before = lines()
    process = forked.start(RUN, folder, noise, err=stderr)
    try:
        deadline = time.monotonic() + 600
        while lines() < before + rounds:
            assert process.is_alive(), stderr.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.001)
        time.sleep(seconds)
    finally:
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL


def watched(folder: Path) -> list[list[str]]:
    return [line.split() for line in (folder / "watched.txt").read_text().splitlines()]


def reference(releases: int) -> float:
    accountant = PLDAccountant()
    event = dp_accounting.PoissonSampledDpEvent(RATE, dp_accounting.GaussianDpEvent(NOISE))
    accountant.compose(event, releases)
    return float(accountant.get_epsilon(DELTA))


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Runs that were killed at random moments, and then left to end."""
    folders = {}
    for noise in ("seeded", "system"):
        folder, moments = tmp_path_factory.mktemp(noise), random.Random(20261124)
        for _ in range(KILLS):
            kill_after(folder, noise, moments.randint(1, ROUNDS // KILLS - 4), moments.uniform(0, 0.05))
        run_to_the_end(folder, noise)
        folders[noise] = folder
    return folders


@pytest.mark.slow
def test_a_simulation_that_was_killed_ends_with_the_same_model_and_the_same_epsilon(killed, tmp_path):
    run_to_the_end(tmp_path, "seeded")
    whole, resumed = watched(tmp_path), watched(killed["seeded"])
    assert resumed[-1] == whole[-1]
    assert {tuple(line) for line in resumed} == {tuple(line) for line in whole}
    assert (killed["seeded"] / "model.safetensors").read_bytes() == (
        tmp_path / "model.safetensors"
    ).read_bytes()
    epsilon = float(resumed[-1][2])
    assert reference(ROUNDS) * (1 - 1e-9) <= epsilon <= 1.01 * reference(ROUNDS)


@pytest.mark.slow
def test_a_real_run_that_was_killed_counts_every_model_that_it_let_out(killed):
    folder = killed["system"]
    ledger = [json.loads(line) for line in (folder / "privacy.jsonl").read_text().splitlines()]
    let_out = {(round, model) for round, model, _ in watched(folder)}
    assert {int(round) for round, _ in let_out} == set(range(1, ROUNDS + 1))
    for number in range(1, ROUNDS + 1):
        assert sum(int(r) == number for r, _ in let_out) <= sum(x["round"] == number for x in ledger)
    epsilon = float(watched(folder)[-1][2])
    assert epsilon >= reference(len(let_out)) * (1 - 1e-9)
    assert reference(len(ledger)) * (1 - 1e-9) <= epsilon <= 1.01 * reference(len(ledger))
    assert ROUNDS <= len(ledger) <= ROUNDS + 2 * KILLS
