"""What there is can be listed, shown, copied and checked; data with who holds them."""

import json
import re
from pathlib import Path

import numpy as np

from hedgerow.experiments.cli.catalogue import heat_map
from hedgerow.experiments.config.recipe import recipe_text, recipes
from tests.api.commands.command import hedgerow


def test_everything_there_is_can_be_listed() -> None:
    listed = json.loads(hedgerow("list", "--json").stdout)
    assert list(listed) == [
        "recipes", "datasets", "partitions", "models", "strategies", "trainers", "transforms", "aggregates",
        "personal", "attacks", "devices",
    ]  # fmt: skip
    assert list(listed["recipes"]) == recipes()
    assert "fashion-mnist" in listed["datasets"]
    assert "dirichlet" in listed["partitions"]
    assert "cnn-fedavg" in listed["models"]
    assert "fedadam" in listed["strategies"]
    assert "quantize" in listed["transforms"]
    for kind, summaries in listed.items():
        for name, summary in summaries.items():
            assert summary, f"{kind} {name} has no summary"
    text = hedgerow("list", "recipes").stdout
    assert all(f"  {name} " in text for name in recipes())
    assert "fedadam" not in text


def test_a_recipe_is_shown_and_copied_as_it_is() -> None:
    assert hedgerow("show", "demo").stdout == recipe_text("demo")
    result = hedgerow("copy", "demo", "mine.toml")
    assert result.exit_code == 0
    assert "hedgerow run mine.toml" in result.stdout or "hedgerow sweep mine.toml" in result.stdout
    assert Path("mine.toml").read_text(encoding="utf-8") == recipe_text("demo")
    assert hedgerow("check", "mine.toml").exit_code == 0


def test_nothing_is_overwritten() -> None:
    Path("mine.toml").write_text("precious", encoding="utf-8")
    result = hedgerow("copy", "demo", "mine.toml")
    assert result.exit_code == 2
    assert "mine.toml already exists" in result.stderr
    assert Path("mine.toml").read_text(encoding="utf-8") == "precious"


def test_a_good_file_is_said_to_be_good() -> None:
    result = hedgerow("check", "demo", "rounds=7")
    assert result.exit_code == 0
    assert "demo: no mistakes; 8 experiments" in result.stdout
    assert "error_feedback(top_k(0.01), quantize(8)), seed 1, 7 rounds" in result.stdout


def test_data_are_shown_with_their_heat_map() -> None:
    result = hedgerow("data", "heart-disease")
    assert result.exit_code == 0
    assert "738 training and 182 test samples of 29, 2 classes" in result.stdout
    assert "4 clients, natural" in result.stdout
    assert "samples a client: 99 to 243, median 198" in result.stdout
    assert re.search(r"^ *disease  [░▒▓█]{4}$", result.stdout, re.MULTILINE)


def test_data_are_dealt_as_asked() -> None:
    arguments = [
        "data",
        "fashion-mnist",
        "--partition",
        "dirichlet",
        "--clients",
        "50",
        "partition.alpha=0.3",
        "--json",
    ]
    facts = json.loads(hedgerow(*arguments).stdout)
    counts = np.array(list(facts["counts"].values()))
    assert counts.shape == (50, 10)
    assert counts.sum() == facts["train"] == 6000
    assert facts["size"]["max"] == counts.sum(1).max()
    assert facts["partition"] == {
        "name": "dirichlet",
        "clients": 50,
        "alpha": 0.3,
        "min_samples": 1,
        "seed": 0,
    }
    other = json.loads(hedgerow(*arguments, "--seed", "1").stdout)
    assert other["counts"] != facts["counts"]


def test_data_of_the_users_own_are_shown() -> None:
    lines = [f"{i},{i % 3},{'yes' if i % 2 else 'no'}" for i in range(60)]
    Path("rows.csv").write_text("\n".join(["a,b,sick", *lines]) + "\n", encoding="utf-8")
    result = hedgerow("data", "rows.csv", "label=sick", "--clients", "3")
    assert result.exit_code == 0, result.stderr
    assert "3 clients, iid" in result.stdout
    assert "data.label: it must be given" in hedgerow("data", "rows.csv").stderr


def test_the_heat_map_shows_who_holds_what() -> None:
    text = heat_map(np.array([[0, 100], [1, 25], [50, 0]]), ["cat", "dog"]).plain.splitlines()
    assert text[0] == "cat   ░▓"
    assert text[1] == "dog  █▒ "
    assert text[2].strip() == "samples: ░ 1-6  ▒ 7-25  ▓ 26-56  █ 57-100"
    many = heat_map(np.ones((1000, 50), int), [f"class {c}" for c in range(50)], width=80).plain.splitlines()
    assert max(map(len, many[:-1])) <= 80
    assert len(many) == 31
    assert many[-1].strip() == "samples: █ 1-1; 69 of 1,000 clients; 30 of 50 classes"
