"""A recipe with a time budget: what it says of its devices, and what its report says of who took part."""

import json

import pytest

from hedgerow.experiments.cli.round_lines import round_line
from hedgerow.experiments.config.errors import ConfigError
from hedgerow.experiments.config.parse import parse
from hedgerow.experiments.config.schema import to_toml
from hedgerow.experiments.report.compare import summarise
from hedgerow.experiments.report.page import write_report
from hedgerow.experiments.report.participation import participation
from hedgerow.experiments.report.results import load_groups
from hedgerow.experiments.runs.run import run_experiment
from tests.api.known_runs import line, make, shown

DEVICES = {"name": "classes", "names": ["laptop", "<pi>"], "shares": [0.5, 0.5], "step_seconds": [0.01, 0.2]}


def table(**changed):
    return {
        "name": "hospitals", "rounds": 2,
        "data": {"name": "heart-disease", "partition": {"name": "natural"}},
        "model": {"name": "logistic"},
        "strategy": {"name": "fednova", "fraction": 1.0},
        "local": {"batch_size": 10, "time_budget": 0.4},
        "devices": DEVICES, **changed,
    }  # fmt: skip


def test_a_run_tells_how_much_each_class_of_devices_took_part(tmp_path):
    experiment = parse(table(seed=3))
    run_experiment(experiment, tmp_path / "run")
    (group,) = load_groups([tmp_path / "run"])
    federation, devices = experiment.federation(), experiment.described_devices()
    kinds = {name: devices.describe(3, name) for name in federation.names}
    assert {kind for kind, _ in kinds.values()} == {"laptop", "<pi>"}
    slow, fast = participation(group)
    assert (slow.who, fast.who) == ("<pi>", "laptop")
    assert (slow.clients + fast.clients, slow.answers) == (4, 2 * slow.clients)
    shares = {
        name: min(1.0, 2 / experiment.strategy().local.steps(len(federation.samples(name))))
        for name, (kind, _) in kinds.items()
        if kind == "<pi>"
    }  # in 0.4 s it takes two steps
    assert slow.mean == pytest.approx(sum(shares.values()) / len(shares))
    assert (slow.least, slow.most) == (min(shares.values()), max(shares.values()))
    assert fast.mean == fast.least == 1.0
    rows = summarise([tmp_path / "run"])
    assert shown(rows)["steps taken (%)"] == (f"{100 * rows[0].steps_taken:.1f}",)
    lines = [json.loads(text) for text in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    taken = [line for line in lines if line["round"]]
    assert all(sorted(line["steps_taken"]) == sorted(federation.names) for line in taken)
    assert f"{100 * taken[0]['metrics']['steps_taken']:.0f} % of the steps" in round_line(taken[0], 2)
    page = write_report(tmp_path / "out", [tmp_path / "run"]).read_text(encoding="utf-8")
    assert "How much each took part" in page
    assert "<td>&lt;pi&gt;</td>" in page


def test_real_devices_are_listed_by_name_and_of_masked_ones_the_mean_alone_is_known(tmp_path):
    named = line(1, 0.5, steps_taken={"kitchen": 0.25, "attic": 1.0})
    make(tmp_path / "named", [named, line(2, 0.6, steps_taken={"kitchen": 0.75})], rounds=2)
    make(tmp_path / "masked", [line(1, 0.5) | {"metrics": {"steps_taken": 0.4}}], rounds=1, seed=2)
    by_folder = {group.first.folder.name: group for group in load_groups([tmp_path])}
    parts = participation(by_folder["named"])
    assert [(part.who, part.answers, part.mean) for part in parts] == [("kitchen", 2, 0.5), ("attic", 1, 1.0)]
    assert participation(by_folder["masked"]) == []
    assert summarise([tmp_path / "masked"])[0].steps_taken == 0.4


def test_many_clients_without_classes_are_told_together(tmp_path):
    make(tmp_path / "run", [line(1, steps_taken={f"c{k}": k / 50 for k in range(1, 51)})], rounds=1)
    (part,) = participation(*load_groups([tmp_path / "run"]))
    assert (part.who, part.clients, part.least, part.most) == ("all clients", 50, 0.02, 1.0)


def test_the_devices_are_part_of_a_recipe_and_read_back_as_they_are():
    import tomllib

    experiment = parse(table())
    assert parse(tomllib.loads(to_toml(experiment))) == experiment
    assert experiment.described_devices().name == "classes(['laptop', '<pi>'], [0.5, 0.5], [0.01, 0.2], 0.0)"
    spread = parse(table(devices={"name": "lognormal", "step_seconds": 0.02}))
    assert spread.described_devices().describe(0, "a") != spread.described_devices().describe(0, "b")


@pytest.mark.parametrize(
    ("devices", "told"),
    [
        (DEVICES | {"shares": [0.5, 0.6]}, "devices.shares = [0.5, 0.6]: it must add up to 1, not 1.1"),
        (DEVICES | {"step_seconds": [0.1]}, "devices.step_seconds = [0.1]: it must have one number for each"),
        (DEVICES | {"names": ["a", "a"]}, "devices.names = "),
        (DEVICES | {"jiter": 0.1}, "Did you mean 'jitter'?"),
        ({"name": "clases"}, "devices.name = \"clases\": it must be one of 'classes', 'lognormal'"),
        ({"name": "lognormal", "step_seconds": 0.0}, "devices.step_seconds = 0.0: it must be a number above"),
    ],
)
def test_a_mistake_in_the_devices_is_told(devices, told):
    with pytest.raises(ConfigError) as caught:
        parse(table(devices=devices), "mine.toml")
    assert told in str(caught.value)


def test_the_server_trains_without_a_budget_before_the_first_round():
    budget = {"share": 0.1, "local": {"time_budget": 2.0}}
    with pytest.raises(ConfigError, match=r"pretraining\.local"):
        parse(table(pretraining=budget))
