"""Runs that go on longer, or start from a model, as commands."""

from pathlib import Path

from hedgerow.experiments.config import schema
from hedgerow.experiments.config.recipe import load
from hedgerow.experiments.runs.run import run_experiment
from hedgerow.experiments.runs.store import RunFolder
from hedgerow.locks import hold
from tests.api.commands.command import hedgerow

ROWS = "\n".join(["a,b,kind", *(f"{i},{i * i % 7},{'xyz'[i % 3]}" for i in range(60))])
CONFIG = """
rounds = 2
[data]
name = "rows.csv"
label = "kind"
[data.partition]
name = "iid"
clients = 4
[model]
name = "logistic"
"""


def refused(code: int, *arguments: str) -> str:
    done = hedgerow(*arguments)
    assert done.exit_code == code, done.stderr
    assert len([x for x in done.stderr.splitlines() if "loading" not in x]) == 1, done.stderr
    return done.stderr


def test_a_run_resumes_with_more_rounds_and_refuses_fewer_or_other_keys() -> None:
    Path("rows.csv").write_text(ROWS)
    Path("run.toml").write_text(CONFIG)
    folder = Path("runs/run")
    run_experiment(load("run.toml"), folder)
    told = refused(2, "run", "run.toml", "rounds=3")
    assert "rounds was 2, is now 3 (for more rounds: hedgerow resume runs/run rounds=3)" in told
    assert "has 2 rounds done; rounds must be 2 or more" in refused(2, "resume", "runs/run", "rounds=1")
    told = refused(2, "resume", "runs/run", "rounds=4", "local.learning_rate=0.2")
    assert "local.learning_rate was 0.1, is now 0.2" in told

    assert hedgerow("resume", "runs/run", "rounds=4").exit_code == 0
    whole = run_experiment(load("run.toml", ["rounds=4"]), Path("runs/whole"))
    run = RunFolder(folder)
    assert run.finished
    assert [line["round"] for line in run.rounds()] == [1, 2, 3, 4]
    assert run.model.read_bytes() == whole.model.read_bytes()

    Path("rows.csv").write_text(ROWS.replace(",1,", ",2,"))
    schema._load.cache_clear()
    told = refused(1, "resume", "runs/run", "rounds=5")
    assert "was started differently: the training data changed" in told
    assert RunFolder(folder).config["rounds"] == 5, "it is resumed with the data that it had"
    Path("rows.csv").write_text(ROWS)
    schema._load.cache_clear()
    run_experiment(load("runs/run"), folder)
    assert RunFolder(folder).finished


def test_a_run_starts_from_the_model_of_another_one() -> None:
    Path("rows.csv").write_text(ROWS)
    Path("run.toml").write_text(CONFIG + 'initial = "first"\n')
    first = run_experiment(load("run.toml", ["model.initial="]), Path("first"))
    second = run_experiment(load("run.toml"), Path("second"))
    assert second.config["model"]["initial"] == str(Path("first").resolve())
    assert second.model.read_bytes() != first.model.read_bytes()
    told = refused(1, "run", "run.toml", "model.name=mlp-2nn", "--out", "third")
    assert "model.safetensors holds another model: " in told
    told = hedgerow("check", "run.toml", "model.initial=gone")
    assert (told.exit_code, "the folder of a run that has one" in told.stderr) == (2, True)


def test_a_folder_that_is_in_use_is_refused_by_every_command_that_writes_in_it() -> None:
    Path("rows.csv").write_text(ROWS)
    Path("run.toml").write_text(CONFIG)
    run_experiment(load("run.toml"), Path("runs/run"))
    (Path("runs/run/lock")).write_text("")
    for folder, command in [
        ("runs/run", ("run", "run.toml")),
        ("runs/run", ("resume", "runs/run")),
        ("runs/many", ("sweep", "run.toml", "sweep.seed=[0, 1]", "--out", "runs/many")),
    ]:
        with hold(Path(folder), keep=True):
            assert f"{folder} is in use by another run of this process" in refused(1, *command)


def test_an_old_run_without_newer_keys_and_header_is_gone_on_with() -> None:
    Path("rows.csv").write_text(ROWS)
    Path("run.toml").write_text(CONFIG)
    folder = Path("runs/run")
    run = run_experiment(load("run.toml"), folder)
    (folder / "fingerprint.json").unlink()
    text = (folder / "config.toml").read_text()
    (folder / "config.toml").write_text(text.replace("quorum = 0.5\n", ""))
    assert run_experiment(load("run.toml"), folder).finished
    assert run_experiment(load("runs/run", ["rounds=3"]), folder, extend=True).finished
    assert len(run.rounds()) == 3
