"""Runs whose clients train privately: the same bits everywhere, until a client's budget is used up."""

import json
import signal
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from torch import nn

import hedgerow as hr
from hedgerow.client import account
from hedgerow.client.cohort.trainer import CohortTrainer
from hedgerow.client.task import Task
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.experiments.runs.recorded import Run
from hedgerow.privacy.ledger import Ledger
from hedgerow.types import LocalTraining, Samples
from tests import forked

ROOT = Path(__file__).parents[2]

PRIVATE = LocalTraining(
    learning_rate=0.5, batch_size=8, clip_samples=0.7, sample_noise=1.1, sample_rate=0.25, sample_delta=1e-5
)


def linear() -> nn.Module:
    return nn.Linear(3, 2)


class Clients:
    names = ("a", "b", "c")

    def samples(self, name):
        rng = np.random.default_rng(ord(name))
        n = 20 + ord(name) % 7
        return Samples(rng.normal(size=(n, 3)).astype(np.float32), rng.integers(2, size=n))


def run(folder=None, local=PRIVATE, workers=1, rounds=3, task=None, **options):
    strategy = hr.fedavg(sampling=hr.uniform(3), local=local)
    return list(
        hr.simulate(
            task or Task(linear), Clients(), strategy,
            rounds=rounds, seed=3, workers=workers, folder=folder, **options,
        )
    )  # fmt: skip


def accounts(folder):
    return {name: (folder / "clients" / name / "privacy.jsonl").read_bytes() for name in Clients.names}


def test_the_same_bits_in_one_process_and_in_two_and_after_a_stop(tmp_path):
    one = run(tmp_path / "one")
    two = run(tmp_path / "two", workers=2)
    run(tmp_path / "stopped", rounds=2)
    rest = run(tmp_path / "stopped")
    in_memory = run()
    batch = run(tmp_path / "auto", trainer="auto")
    expected = one[-1].state.model.parameters
    for other in (two, rest, in_memory, batch):
        assert np.array_equal(expected, other[-1].state.model.parameters)
    assert accounts(tmp_path / "one") == accounts(tmp_path / "two") == accounts(tmp_path / "stopped")
    lines = [json.loads(line) for line in accounts(tmp_path / "one")["a"].splitlines()]
    assert [(line["round"], line["times"]) for line in lines] == [(1, 4), (2, 4), (3, 4)]
    assert {line["noise"] for line in lines} == {"seeded: a simulation"}
    assert not any(result.metrics for result in one)


@pytest.mark.parametrize("kept", [True, False])
def test_a_client_whose_budget_is_used_up_takes_no_further_part(tmp_path, kept):
    most = account.spent(PRIVATE, 2)
    local = replace(PRIVATE, sample_epsilon=1.001 * most)
    results = run(tmp_path / "run" if kept else None, local)
    assert [bool(r.failed) for r in results] == [False, False, True]
    assert set(results[2].dropped) == set(Clients.names)
    for name, why in results[2].dropped.items():
        assert f"client {name!r} takes no further part" in why
    if kept:
        file = tmp_path / "run" / "clients" / "a" / "privacy.jsonl"
        assert Ledger(account.budget(local), file).epsilon == pytest.approx(most)


def test_a_round_run_again_counts_once_with_the_seeds_noise_and_twice_with_the_systems(tmp_path):
    trainer = TorchTrainer(Task(linear))
    model = trainer.initial(0)
    for seeded, expected in ((True, 1), (False, 2)):
        file = tmp_path / f"{seeded}.jsonl"
        for _ in range(2):
            fit = trainer.fit(
                model, Clients().samples("a"), PRIVATE, seed=1, round=1, client="a", seeded_noise=seeded
            )
            own = account.Account("a", PRIVATE, Ledger(account.budget(PRIVATE), file), seeded=seeded)
            own.record(1, fit if seeded else None)
        assert Ledger(account.budget(PRIVATE), file).epsilon == account.spent(PRIVATE, expected)


def test_a_real_client_must_have_a_place_for_its_account(tmp_path):
    with pytest.raises(ValueError, match="--node-config"):
        account.require_file(None, seeded=False)
    assert account.require_file(tmp_path, seeded=False) == tmp_path
    assert account.require_file(None, seeded=True) is None


def test_a_trainer_that_adds_no_noise_is_refused():
    class Silent:
        def __init__(self):
            self._inner = CohortTrainer(Task(linear), mode="loop")
            self.layout, self.initial, self.evaluate = (
                self._inner.layout, self._inner.initial, self._inner.evaluate
            )  # fmt: skip

        def fit(self, model, data, local, *, seed, round, client):
            raise AssertionError("it must not be asked")

    with pytest.raises(ValueError, match="supports clip_samples, sample_noise, and Silent supports nothing"):
        run(rounds=1, task=Silent())


def test_a_table_shows_what_the_client_asked_most_often_can_have_spent():
    config = {"local": asdict(replace(PRIVATE, sample_epsilon=0.0))}
    lines = tuple(
        {"round": number, "clients": dict.fromkeys(asked), "dropped": dict.fromkeys(lost)}
        for number, (asked, lost) in enumerate([("", ""), ("ab", ""), ("a", "c"), ("bc", "a")])
    )
    assert Run(ROOT, config, lines, True).sample_epsilon == account.spent(PRIVATE, 3)
    limited = {"local": asdict(replace(PRIVATE, sample_epsilon=2.0))}
    assert Run(ROOT, limited, lines, True).sample_epsilon == 2.0
    assert Run(ROOT, {"local": asdict(LocalTraining())}, lines, True).sample_epsilon is None


RUN = """
import sys
from pathlib import Path
from tests.engines.test_sample_noise import run
run(Path(sys.argv[1]), rounds=12)
"""


def kill_after(folder, lines):
    """Kill the run as soon as a client has written so many lines more."""
    file = folder / "clients" / "b" / "privacy.jsonl"

    def written():
        return file.read_bytes().count(b"\n") if file.exists() else 0

    before = written()
    process = forked.start(RUN, folder)
    try:
        deadline = time.monotonic() + 600
        while written() < before + lines:
            assert process.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.001)
    finally:
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_model_and_the_same_accounts(tmp_path):
    whole = run(tmp_path / "whole", rounds=12)
    for lines in (1, 4, 2):
        kill_after(tmp_path / "killed", lines)
    rest = run(tmp_path / "killed", rounds=12)
    assert np.array_equal(whole[-1].state.model.parameters, rest[-1].state.model.parameters)
    for name in Clients.names:
        file = tmp_path / "killed" / "clients" / name / "privacy.jsonl"
        assert Ledger(account.budget(PRIVATE), file).epsilon == account.spent(PRIVATE, 12)
