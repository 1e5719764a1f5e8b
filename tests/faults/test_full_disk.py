"""A disk that fills up: the run goes on, and nothing that was saved is lost."""

import json
import subprocess
import sys
from urllib.parse import quote

import numpy as np
import pytest

from hedgerow.client.app import client_app
from hedgerow.client.state import FolderState
from hedgerow.experiments.cli import inspect as look_commands
from hedgerow.experiments.report.page import write_report
from hedgerow.experiments.runs.store import RunFolder, line_of
from hedgerow.files import write_whole
from hedgerow.locks import hold
from hedgerow.privacy.accounting import Budget
from hedgerow.privacy.events import Gaussian
from hedgerow.privacy.ledger import Ledger
from hedgerow.server.app import train
from hedgerow.server.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from hedgerow.simulation.grid import InProcessGrid
from hedgerow.strategies import fedavg, uniform
from tests.api.known_runs import line, make
from tests.full_disks import full_disk
from tests.support import MeanTrainer, clients

TRAINER, DATA = MeanTrainer(), clients(4)
STRATEGY = fedavg(sampling=uniform(2))


def run(folder, num_rounds, full_from=None, full_to=None):
    """Train and store; the disk is full after round `full_from` and until round `full_to`."""
    store = RunFolder.create(folder, "seed = 0\n")
    with InProcessGrid(client_app(TRAINER, DATA, STRATEGY), 4, names=lambda i: DATA.names[i]) as grid:
        results = train(
            grid, STRATEGY, TRAINER.initial(0), TRAINER.layout, num_rounds=num_rounds, folder=folder
        )
        for result in results:
            if result.round == full_from:
                full = full_disk()
                full.__enter__()
            if result.round == full_to:
                full.__exit__(None, None, None)
            store.append(line_of(result))
    return store


def test_while_the_disk_is_full_the_run_goes_on_and_catches_up(tmp_path, caplog):
    undisturbed = run(tmp_path / "a", 8)
    disturbed = run(tmp_path / "b", 8, full_from=3, full_to=6)
    assert disturbed.model.read_bytes() == undisturbed.model.read_bytes()
    assert [line["round"] for line in disturbed.rounds()] == list(range(1, 9))
    for number in (3, 4, 5):
        assert f"round {number} is not saved" in caplog.text
        assert f"round {number} is not in metrics.jsonl yet" in caplog.text
    assert not list((tmp_path / "b").rglob("*.partial"))


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path):
    run(tmp_path, 3)
    state = load_checkpoint(tmp_path / "checkpoints", TRAINER.layout, seed=0)
    before = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    with full_disk(), pytest.raises(OSError, match="File too large"):
        save_checkpoint(tmp_path / "checkpoints", state, TRAINER.layout, seed=0)
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == before
    again = load_checkpoint(tmp_path / "checkpoints", TRAINER.layout, seed=0)
    assert again.model.parameters.tobytes() == state.model.parameters.tobytes()


def test_a_disk_that_is_full_is_told_with_the_file_that_it_has_no_room_for(tmp_path, caplog):
    store = run(tmp_path / "run", 1)
    reported = make(tmp_path / "reported", [line(1, 0.5)], rounds=1)
    writes = {
        "config.toml": lambda: RunFolder.create(tmp_path / "other", "seed = 0  # and more than 20 bytes\n"),
        "model.safetensors": lambda: write_whole(tmp_path / "model.safetensors", b"x" * 100),
        "metrics.jsonl": lambda: store.append({"round": 2}),
        "privacy.jsonl": lambda: Ledger(Budget(delta=1e-5), tmp_path / "privacy.jsonl").record(
            1, Gaussian(9.0), "digest", noise="of the system"
        ),
        "lock": lambda: hold(tmp_path / "held").__enter__(),
        "mine.toml": lambda: look_commands.copy("heart", tmp_path / "mine.toml"),
        "report.html": lambda: write_report(tmp_path / "report", [reported]),
    }
    for name, write in writes.items():
        told = ""
        with full_disk():
            try:
                write()
            except OSError as error:
                told = str(error)
        if name == "metrics.jsonl":  # the line is kept, and the run goes on
            told = caplog.text
        assert "File too large" in told or "the disk took only a part" in told, name
        assert name in told
    assert not list(tmp_path.rglob("*.partial"))
    assert not (tmp_path / "report" / "report.html").exists(), "no half of a page is left"


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "con", "a/b", "x" * 1000, "日本語" * 100, "é" * 300, "..+x", "ward 7", "client-0007"],
)
def test_a_client_of_any_name_keeps_its_state_in_a_folder_of_its_own(tmp_path, name):
    state = FolderState(tmp_path / "clients", name)
    state.save(1, {"pipeline": {"residual": np.ones(3, np.float32)}})
    (folder,) = (tmp_path / "clients").iterdir()
    assert folder.is_dir()
    assert len(folder.name.encode()) < 255
    assert [p.name for p in tmp_path.iterdir()] == ["clients"]
    other = FolderState(tmp_path / "clients", f"{name}x")
    assert other.load(2) == {}
    assert FolderState(tmp_path / "clients", name).load(2)["pipeline"]["residual"].tolist() == [1, 1, 1]
    if name in ("ward 7", "client-0007"):
        assert folder.name == quote(name, safe=""), "what runs have saved so far is found again"


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path):
    run(tmp_path, 3)
    newest = tmp_path / "checkpoints" / "round-000003.safetensors"
    newest.write_bytes(newest.read_bytes()[:100])
    assert load_checkpoint(tmp_path / "checkpoints", TRAINER.layout, seed=0).round == 2
    (tmp_path / "checkpoints" / "round-000002.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"no checkpoint in .* can be read .*start in another folder"):
        load_checkpoint(tmp_path / "checkpoints", TRAINER.layout, seed=0)


def test_another_runs_checkpoint_is_refused(tmp_path):
    run(tmp_path, 2)
    with pytest.raises(CheckpointError, match="has seed 0, this run has 1; it belongs to another run"):
        load_checkpoint(tmp_path / "checkpoints", TRAINER.layout, seed=1)


def test_a_torn_line_counts_as_not_there_and_spoils_no_other(tmp_path):
    store = run(tmp_path, 3)
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(file.read_bytes()[:-40])
    assert [line["round"] for line in store.rounds()] == [1, 2]
    store.append({"round": 3, "seconds": 1.0})
    assert [line["round"] for line in store.rounds()] == [1, 2, 3]
    assert store.rounds()[2]["seconds"] == 1.0


def test_a_round_that_was_run_again_counts_once(tmp_path):
    store = run(tmp_path, 3)
    store.append({"round": 2, "seconds": 9.0})
    assert [line["round"] for line in store.rounds()] == [1, 2, 3]
    assert store.rounds()[1]["seconds"] == 9.0


def test_a_loss_that_overflows_does_not_end_the_run(tmp_path):
    class Overflowing(MeanTrainer):
        def evaluate(self, model, data):
            return {"loss": float("inf")}

    trainer, store = Overflowing(), RunFolder.create(tmp_path, "seed = 0\n")
    with InProcessGrid(client_app(trainer, DATA, STRATEGY), 4, names=lambda i: DATA.names[i]) as grid:
        for result in train(
            grid, STRATEGY, trainer.initial(0), trainer.layout,
            num_rounds=2, evaluate=lambda model: trainer.evaluate(model, DATA.samples("client-000")),
        ):  # fmt: skip
            store.append(line_of(result))
    assert [line["evaluation"] for line in store.rounds()] == [{"loss": None}] * 2
    assert np.isfinite(result.state.model.parameters).all()


def test_what_is_saved_is_plain_json_and_safetensors(tmp_path):
    run(tmp_path, 2)
    assert all(json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines())
    read = "import sys; from safetensors.numpy import load_file; print(sorted(load_file(sys.argv[1])))"
    done = subprocess.run(
        [sys.executable, "-c", read, tmp_path / "model.safetensors"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "['a', 'b']"
