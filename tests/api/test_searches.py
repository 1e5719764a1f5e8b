"""What a sweep does next: early stopping, and searches by Optuna."""

import importlib.util
import logging

import pytest

from hedgerow.experiments.config.errors import ConfigError
from hedgerow.experiments.config.search import OBJECTIVES
from hedgerow.experiments.report.compare import summarise
from hedgerow.experiments.report.headline import conclude
from hedgerow.experiments.runs.costs import BY_NAME
from hedgerow.experiments.runs.early_stopping import Point, dominated
from hedgerow.experiments.runs.optuna_search import FILE
from hedgerow.experiments.runs.store import RunFolder
from tests.scheduled import lines, steps, tiny

STOPPING = """
[early_stopping]
every = 2
margin = 0.05
[sweep]
"local.learning_rate" = [0.1, 1e-6, 0.08]
seed = [0, 1]
"""

OPTUNA = """
[search]
name = "optuna"
draws = 12
batch = 3
objectives = ["accuracy", "bytes_up"]
[sweep]
"local.learning_rate" = "log_uniform(0.001, 1.0)"
"strategy.pipeline" = "choice('float32()', 'quantize(8)', 'quantize(4)')"
rounds = [1]
"""


def test_a_way_that_another_dominates_is_stopped_and_says_so_whatever_the_order(tmp_path):
    sweep = tiny(tmp_path, STOPPING)
    done = [list(steps(sweep, tmp_path / name, order)) for name, order in (("a", 1), ("b", 2))]
    assert len(done[0]) == len(done[1]) == 6 + 2 + 4
    assert lines(tmp_path / "a") == lines(tmp_path / "b")
    rows = {row.label: row for row in summarise([tmp_path / "a"])}
    stopped = "learning_rate=1e-06 (stopped: 2 of 4 rounds)"
    assert set(rows) == {"learning_rate=0.1", stopped, "learning_rate=0.08"}
    assert rows[stopped].rounds == 2
    assert rows[stopped].notes[0].startswith("stopped: learning_rate=0.")
    assert "for no more bytes, and this at most" in rows[stopped].notes[0]
    assert all(row.label != stopped for row in conclude(list(rows.values())).near)
    left = [row for label, row in rows.items() if label != "learning_rate=0.08"]
    told = "learning_rate=0.1 is left: every other way was stopped early, as another one dominated it."
    assert conclude(left).sentences == (told,)
    assert {pick.row.label for pick in conclude(left).picks} == {"learning_rate=0.1"}
    # Started again, it finds that all is done.
    before = lines(tmp_path / "a")
    list(steps(sweep, tmp_path / "a"))
    assert lines(tmp_path / "a") == before


def test_a_run_that_waits_for_the_others_gives_the_model_of_one_that_does_not(tmp_path):
    sweep = tiny(tmp_path, STOPPING.replace("0.05", "0.99"))
    list(steps(sweep, tmp_path / "waits"))
    plain = tiny(tmp_path, STOPPING.partition("[sweep]")[1] + STOPPING.partition("[sweep]")[2])
    list(steps(plain, tmp_path / "plain"))
    assert lines(tmp_path / "waits") == lines(tmp_path / "plain")
    for cell in plain.cells:
        models = [RunFolder(tmp_path / name / cell.folder).model for name in ("waits", "plain")]
        assert models[0].read_bytes() == models[1].read_bytes()


def test_more_accuracy_for_more_bytes_dominates_nothing_and_noise_counts():
    def way(accuracy, up, error=0.0):
        return [Point(1, accuracy, error, up, down=100)]

    assert dominated("a", {"a": way(0.5, 10), "b": way(0.9, 11)}, 0.02) == ""
    assert dominated("a", {"a": way(0.5, 10), "b": way(0.519, 10)}, 0.02) == ""
    assert dominated("a", {"a": way(0.5, 10, 0.03), "b": way(0.549, 10, 0.04)}, 0.0) == ""
    assert dominated("a", {"a": way(0.5, 10, 0.03), "b": way(0.56, 10, 0.04)}, 0.0)
    assert dominated("a", {"a": [], "b": way(0.9, 1)}, 0.0) == ""


def test_a_failed_run_is_a_row_of_its_own_that_says_why(tmp_path):
    sweep = tiny(tmp_path, "[sweep]\nseed = [0, 1]\n")
    list(steps(sweep, tmp_path / "a"))
    run = RunFolder(tmp_path / "a" / sweep.cells[0].folder)
    run.model.unlink()
    run.end("failed", "the battery is empty\nsecond line")
    rows = summarise([tmp_path / "a"])
    assert [row.label for row in rows] == ["tiny (failed: 4 of 4 rounds)", "tiny"]
    assert rows[0].notes[0] == "failed: the battery is empty"


def test_optuna_proposes_the_same_in_any_order_and_after_it_was_left_at_any_moment(tmp_path):
    sweep = tiny(tmp_path, OPTUNA)
    whole = list(steps(sweep, tmp_path / "whole"))
    assert len(set(whole)) > 8, "Optuna has proposed nothing of its own"
    for left in (1, 4, 10):
        going = steps(sweep, tmp_path / "left", order=left)
        for _ in range(left):
            next(going)
        going.close()
    with (tmp_path / "left" / FILE).open("ab") as torn:
        torn.write(b'{"op_code": 4, "wor')
    (tmp_path / "left" / f"{FILE}.lock").symlink_to("nobody")
    list(steps(sweep, tmp_path / "left", order=7))
    assert lines(tmp_path / "left") == lines(tmp_path / "whole")


def test_optunas_own_tools_read_the_study(tmp_path):
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    sweep = tiny(tmp_path, OPTUNA.replace("12", "4"))
    list(steps(sweep, tmp_path / "a"))
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "a" / FILE)))
    study = optuna.load_study(study_name="rounds=1 by accuracy, bytes_up", storage=storage)
    assert len(study.trials) == 4
    best = {trial.number for trial in study.best_trials}
    assert best
    by_bytes = {trial.values[1] for trial in study.trials}
    recorded = {run[-1]["bytes_up"] for run in lines(tmp_path / "a").values()}
    assert by_bytes == recorded


def test_an_objective_that_is_not_known_is_named_before_anything_runs(tmp_path):
    with pytest.raises(ConfigError, match="must be one of 'accuracy', 'loss', 'bytes_up', 'bytes'"):
        tiny(tmp_path, OPTUNA.replace('"bytes_up"', '"watts"'))
    assert {*OBJECTIVES} == {"accuracy", "loss", *BY_NAME}


def test_an_objective_that_runs_do_not_record_ends_the_sweep_with_the_reason(tmp_path):
    sweep = tiny(tmp_path, OPTUNA.replace('"bytes_up"', '"seconds"'))
    with pytest.raises(ConfigError, match=r"these runs record no seconds; .* need \[clock\]"):
        list(steps(sweep, tmp_path / "a"))
    assert len(list((tmp_path / "a").glob("*/model.safetensors"))) == 3


def test_with_other_objectives_a_search_begins_anew_and_goes_on(tmp_path):
    fewer = OPTUNA.replace("draws = 12", "draws = 4")
    list(steps(tiny(tmp_path, fewer), tmp_path / "a"))
    list(steps(tiny(tmp_path, OPTUNA.replace(', "bytes_up"', "")), tmp_path / "a"))
    assert len(list((tmp_path / "a").glob("*/model.safetensors"))) >= 10


def test_a_mistyped_range_is_one_mistake(tmp_path):
    with pytest.raises(ConfigError) as caught:
        tiny(tmp_path, '[search]\ndraws = 2\n[sweep]\n"local.learning_rate" = "loguniform(0.1, 1)"\n')
    assert len(caught.value.mistakes) == 1


def test_without_optuna_the_error_has_the_command(tmp_path, monkeypatch):
    from hedgerow.experiments.cli.terminal import describe

    find = importlib.util.find_spec
    monkeypatch.setattr("hedgerow.extras.find_spec", lambda name: None if name == "optuna" else find(name))
    with pytest.raises(ModuleNotFoundError) as caught:
        next(steps(tiny(tmp_path, OPTUNA), tmp_path / "a"))
    assert (
        describe(caught.value) == 'optuna is not installed; install it with: pip install "hedgerow[optuna]"'
    )


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ('[search]\ndraws = 2\n', "search: it is about a sweep; give [sweep]"),
        ('[search]\ndraws = 2\n[sweep]\nseed = [0]\n', "search: [sweep] has no range to draw from"),
        ('[sweep]\nrounds = "uniform(1, 3)"\n', 'sweep."rounds": a range needs to know how often'),
        ('[search]\ndraws = 2\n[sweep]\nseed = "uniform(1, 3)"\n', 'sweep."seed": it must be a list'),
        ('[search]\nname = "optuna"\ndraws = 2\n[early_stopping]\nevery = 1\n'
         '[sweep]\nrounds = "uniform(1, 3)"\n', "early_stopping: it must be left out with Optuna"),
        ('[search]\ndraw = 2\n[sweep]\nrounds = "uniform(1, 3)"\n', "Did you mean 'draws'?"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_said(tmp_path, more, told):
    with pytest.raises(ConfigError) as caught:
        tiny(tmp_path, more)
    assert told in str(caught.value)


@pytest.fixture(autouse=True)
def quiet():
    logging.getLogger("flwr").setLevel(logging.ERROR)
