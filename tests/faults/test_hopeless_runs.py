"""A run that cannot succeed stops at once and says why, in one sentence."""

from pathlib import Path

import numpy as np
import pytest
import torch
from flwr.app import Message

import hedgerow as hr
from hedgerow.server.failures import EveryClientFailed, Failures
from hedgerow.server.roster import Roster
from tests import support
from tests.api.commands.command import hedgerow

ROWS = "\n".join(["a,b,kind", *(f"{i},{i * i % 7},{'xyz'[i % 3]}" for i in range(60))])
CONFIG = """
rounds = 50
[data]
name = "rows.csv"
label = "kind"
[data.partition]
name = "iid"
clients = 4
[model]
name = "net.py:make"
"""
WRONG = "import torch\ndef make(input_shape, num_classes):\n    return torch.nn.Linear(5, num_classes)\n"


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("rows.csv").write_text(ROWS)
    Path("net.py").write_text(WRONG)
    Path("run.toml").write_text(CONFIG)
    return tmp_path


def wrong() -> torch.nn.Module:
    return torch.nn.Linear(5, 3)


def samples(number: int) -> hr.Samples:
    random = np.random.default_rng(number)
    return hr.Samples(
        random.normal(size=(10 + number, 6)).astype(np.float32), random.integers(3, size=10 + number)
    )


@pytest.mark.parametrize("options", [{}, {"workers": 2}, {"trainer": "auto", "device": "cpu"}])
def test_where_no_client_of_the_first_round_can_train_there_is_one_exception(options, caplog) -> None:
    results = hr.simulate(hr.Task(wrong), hr.from_function(4, samples), hr.fedavg(), rounds=50, **options)
    with pytest.raises(EveryClientFailed, match=r"stops in round 1: every client.* client-0000: .*shapes"):
        list(results)
    assert "Traceback" not in caplog.text
    assert caplog.text.count("cannot be multiplied") <= 1, "each cause is logged once"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_command_says_it_in_one_line_and_ends_with_1(project, workers) -> None:
    done = hedgerow("run", "run.toml", "--workers", workers)
    assert done.exit_code == 1
    assert len([x for x in done.stderr.splitlines() if "loading" not in x]) == 1, done.stderr
    assert "the run stops in round 1: every client that was asked failed in the same way" in done.stderr
    assert "mat1 and mat2 shapes cannot be multiplied" in done.stderr
    assert not Path("runs/run/model.safetensors").exists()
    # The corrected one starts where it was refused.
    Path("net.py").write_text(WRONG.replace("5", "input_shape[0]"))
    assert hedgerow("resume", "runs/run", "rounds=50").exit_code == 1  # the module is loaded once a process


def test_tracebacks_are_for_who_asks_and_one_for_each_cause(project) -> None:
    done = hedgerow("--debug", "run", "run.toml", "--workers", "2")
    assert done.exit_code == 1
    assert done.stderr.count("in __init__") == 0
    assert done.stderr.count("Traceback (most recent call last)") >= 1


def test_a_federation_of_error_replies_stops_too() -> None:
    class Refusing(support.MeanTrainer):
        def fit(self, model, data, local, *, seed, round, client):
            raise OSError(f"{client} has no room for {len(data)} samples")

    app = hr.client_app(Refusing(), support.clients(3), hr.fedavg())
    trainer = support.MeanTrainer()
    with hr.InProcessGrid(app, 3) as grid:
        results = hr.train(grid, hr.fedavg(), trainer.initial(0), trainer.layout, num_rounds=9)
        with pytest.raises(EveryClientFailed, match="has no room for"):
            next(results)


def test_nodes_that_all_refuse_to_say_who_they_are_are_not_waited_for() -> None:
    def refuses(message: Message, context) -> Message:
        raise ValueError(f"node {context.node_id}: the run config names no recipe")

    with hr.InProcessGrid(refuses, 3) as grid, pytest.raises(EveryClientFailed, match="names no recipe"):
        Roster().wait(grid, 3)


def after(failures: Failures, *rounds: dict[str, str], counted: int = 0) -> int:
    """Rounds until it stops; 0 where it does not."""
    for number, dropped in enumerate(rounds, start=1):
        try:
            failures.after(number, sorted(dropped), dropped, counted, 10)
        except EveryClientFailed:
            return number
    return 0


def test_when_a_run_stops_and_when_it_goes_on() -> None:
    bad = {"a": "it failed: client 'a': 3 rows", "bert": "it failed: client 'bert': 12 rows"}
    assert after(Failures(), bad) == 1
    assert after(Failures(), {"a": bad["a"]}) == 0, "one bad client of ten is no bad run"
    assert after(Failures(), {"a": bad["a"]}, {"bert": bad["bert"]}) == 2
    assert after(Failures(), {**bad, "c": "it failed: something else"}) == 0
    silent = {"a": "it did not reply in time", "b": "it did not reply in time"}
    assert after(Failures(), *[silent] * 9) == 0, "they may be there the next time"
    lost = dict.fromkeys("ab", "it cannot be reached: nothing is heard of it")
    assert after(Failures(), *[lost] * 9) == 0
    later = Failures()
    assert after(later, {}, {"c": "x"}, counted=3) == 0
    assert after(later, bad, bad) == 0
    assert after(later, bad) == 1, "the third round in a row on the same model"


def test_check_tries_a_sample_through_model_and_loss(project) -> None:
    done = hedgerow("check", "run.toml")
    assert done.exit_code == 2
    assert "model: " in done.stderr
    assert "mat1 and mat2 shapes cannot be multiplied (1x2 and 5x3)" in done.stderr
    assert "Traceback" not in done.stderr
    assert hedgerow("check", "run.toml", "model.name=logistic").exit_code == 0
    more = hedgerow("check", "run.toml", "model.name=logistic", "data.partition.clients=100")
    assert more.exit_code == 2
    assert "100 clients with at least 1 samples each need 100 samples" in more.stderr


@pytest.mark.parametrize("seed", ["-1", "9223372036854775808"])
def test_check_refuses_a_seed_out_of_range(project, seed) -> None:
    done = hedgerow("check", "run.toml", "model.name=logistic", f"seed={seed}")
    assert done.exit_code == 2
    assert f"seed = {seed}: it must be a whole number from 0 to 9223372036854775807" in done.stderr
