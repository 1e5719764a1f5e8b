"""Data that a user's function gives: clients or a data set, in every command that takes a recipe."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from hedgerow.datasets import load_dataset
from hedgerow.experiments.cli.main import app
from hedgerow.experiments.config.errors import ConfigError
from hedgerow.experiments.config.recipe import load
from hedgerow.experiments.runs.run import run_experiment

CODE = """
import numpy as np
import hedgerow as hr

class Hospitals:
    def __init__(self, number, size, test):
        self.names = [f"hospital {k}" for k in range(number)]
        self._size = size
        if test:
            self.test = self.samples(self.names[0])

    def samples(self, name):
        random = np.random.default_rng(int(name.split()[1]))
        x = random.normal(size=(self._size, 4))
        return hr.Samples(x, (x[:, 0] > 0).astype(int))

def hospitals(number: int = 3, size: int = 20, test: bool = True):
    return Hospitals(number, size, test)

def dataset(samples: int = 40):
    x = np.random.normal(size=(samples, 4)).astype("float32")
    return hr.from_arrays(x, (x[:, 0] > 0).astype("int64"))

def predicted():
    found = Hospitals(3, 20, True)
    found.samples = lambda name: hr.Samples(np.ones((5, 4)), np.arange(5) / 5)
    found.test = found.samples("")
    return found

def unlike():
    found = Hospitals(2, 20, False)
    found.samples = lambda name: hr.Samples(np.ones((5, 4 + int(name[-1]))), np.zeros(5))
    return found

def nobody():
    return Hospitals(0, 20, False)

def pairs():
    found = Hospitals(2, 20, False)
    found.samples = lambda name: (np.ones((5, 4)), np.zeros(5))
    return found

def listed():
    return [1, 2]

def fails():
    raise OSError("the disk is on fire")

number = 3
"""
RECIPE = """
rounds = 2
[data]
name = "own.py:{function}"
{options}
[model]
name = "logistic"
[strategy]
fraction = 1.0
"""


def recipe(folder: Path, function: str, options: str = "") -> Path:
    (folder / "own.py").write_text(CODE)
    file = folder / "mine.toml"
    file.write_text(RECIPE.format(function=function, options=options))
    return file


def command(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize("options", ["[data.options]\nnumber = 4", "number = 4"])
def test_clients_of_a_function_beside_the_recipe_are_the_clients(tmp_path, monkeypatch, options):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    experiment = load(recipe(tmp_path, "hospitals", options))
    run = run_experiment(experiment, tmp_path / "run")
    assert list(run.rounds()[-1]["clients"]) == [f"hospital {k}" for k in range(4)]
    assert set(run.rounds()[-1]["evaluation"]) == {"loss", "accuracy"}
    assert load(tmp_path / "run") == experiment


def test_they_are_checked_shown_swept_compared_and_reported(tmp_path):
    file = recipe(tmp_path, "hospitals")
    command("check", file)
    facts = json.loads(command("data", f"{tmp_path}/own.py:hospitals", "size=7", "--json"))
    assert (facts["clients"], facts["size"]["max"], facts["train"]) == (3, 7, 21)
    for size in (5, 6):
        out = tmp_path / "sweep" / f"size={size}"
        command("run", file, f"data.options.size={size}", "--out", out)
        assert (out / "report.html").is_file()
    assert len(json.loads(command("compare", tmp_path / "sweep" / "size=5", out, "--json"))) == 2
    swept = load(file, ["sweep.data.options.size=[5, 6]"]).cells
    assert [cell.experiment.data.options["size"] for cell in swept] == [5, 6]


def test_a_data_set_of_a_function_is_dealt_and_the_same_each_time(tmp_path):
    deal = '[data.partition]\nname = "iid"\nclients = 3'
    experiment = load(recipe(tmp_path, "dataset", f"samples = 30\n{deal}"))
    assert len(experiment.federation().names) == 3
    name = f"{tmp_path}/own.py:dataset"
    first, second = (load_dataset(name).train.x for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_without_test_samples_nothing_is_measured_and_the_run_ends(tmp_path):
    run = run_experiment(load(recipe(tmp_path, "hospitals", "test = false")), tmp_path / "run")
    assert run.finished
    assert run.rounds()[-1]["evaluation"] == {}
    command("compare", tmp_path / "run")


def test_targets_that_are_no_whole_numbers_are_predicted(tmp_path):
    run = run_experiment(load(recipe(tmp_path, "predicted")), tmp_path / "run")
    assert set(run.rounds()[-1]["evaluation"]) == {"loss", "mae"}


def test_a_module_gives_data_too(tmp_path, monkeypatch):
    (tmp_path / "own_hospitals.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    data = load_dataset("own_hospitals:hospitals", number=2)
    assert data.clients == ("hospital 0", "hospital 1")
    assert data.train.x.dtype == np.float32


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        ("hospitls", "", r"own.py has no 'hospitls'. Did you mean 'hospitals'\?"),
        ("number", "", "is an object of the type int; it must be a function that returns the data"),
        (
            "hospitals",
            "numbr = 3",
            "data.numbr = 3: there is no such key; allowed are partition, held_out, held_out_by, number",
        ),
        ("hospitals", '[data.options]\nnumber = "3"', 'data.number = "3": it must be a whole number'),
        ("hospitals", '[data.partition]\nname = "idd"', "Did you mean 'iid'"),
    ],
)
def test_what_shows_without_data_is_told_as_a_mistake_in_the_recipe(tmp_path, function, options, message):
    with pytest.raises(ConfigError, match=message):
        load(recipe(tmp_path, function, options))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.py:hospitals", "data file '.*missing.py' does not exist; looked for /"),
        (
            "not_there.at_all:hospitals",
            "data module 'not_there.at_all' cannot be imported: ModuleNotFoundError",
        ),
        ("own.py:", "or a function as 'file.py:function' or 'module:function'"),
        ("broken.py:data", "data file .*broken.py fails: ZeroDivisionError"),
    ],
)
def test_a_place_that_is_not_there_is_named(tmp_path, name, message):
    file = recipe(tmp_path, "hospitals")
    (tmp_path / "broken.py").write_text("1 / 0")
    with pytest.raises(ConfigError, match=message):
        load(file, [f"data.name={name if ':' in name and '.py' not in name else tmp_path / name}"])


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            "listed",
            "returned an object of the type list; it must return a Dataset, or an object with names and",
        ),
        ("nobody", "returned no client; names must have at least one"),
        (
            "pairs",
            "client 'hospital 0' is an object of the type tuple; it must be hedgerow.Samples, with x and y",
        ),
        ("unlike", r"client 'hospital 1' has samples of shape \(5,\)"),
        ("fails", "data '.*own.py:fails' cannot be loaded: OSError: the disk is on fire"),
    ],
)
def test_a_function_that_gives_something_else_is_told_in_one_sentence(tmp_path, function, message):
    experiment = load(recipe(tmp_path, function))
    with pytest.raises(ValueError, match=message) as told:
        experiment.dataset()
    assert "\n" not in str(told.value)
