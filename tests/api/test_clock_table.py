"""Simulated time, energy and price stand beside the bytes wherever a run is shown; else nowhere."""

import json

import pytest

from hedgerow.experiments.cli.round_lines import round_line
from hedgerow.experiments.config.parse import parse
from hedgerow.experiments.report import table
from hedgerow.experiments.report.compare import summarise, to_json
from hedgerow.experiments.report.page import write_report
from hedgerow.experiments.runs.run import run_experiment

RECIPE = {
    "name": "timed", "rounds": 3,
    "data": {"name": "heart-disease", "partition": {"name": "natural"}}, "model": {"name": "logistic"},
    "strategy": {"clients_per_round": 3}, "evaluation": {"target_accuracy": 0.5},
}  # fmt: skip
CLOCK = {"devices": ["pi-4"], "links": ["lte"], "shares": [1.0]}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for name, more in (("timed", {"clock": CLOCK}), ("plain", {})):
        run_experiment(parse({**RECIPE, **more, "name": name}), folder / name)
    return folder


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_each_round_has_its_time_and_cost_and_each_client_its_own(runs):
    for line in lines(runs / "timed"):
        assert set(line["clock"]) == {"seconds", "elapsed", "joules", "price"}
        for figure in ("joules", "price"):
            each = sum(client[figure] for client in line["clients"].values())
            assert line["clock"][figure] == pytest.approx(each)
        assert " simulated, " in round_line(line, 3)
    for line in lines(runs / "plain"):
        assert "clock" not in line
        assert all(set(client) == {"bytes_up", "bytes_down"} for client in line["clients"].values())
        assert "simulated" not in round_line(line, 3)


def test_the_table_has_their_sums_and_the_time_to_the_target(runs):
    timed, plain = summarise([runs / "timed", runs / "plain"])
    told = lines(runs / "timed")
    for figure in ("seconds", "joules", "price"):
        assert timed.costs[figure].total == pytest.approx(sum(line["clock"][figure] for line in told))
    reached = next(line["round"] for line in told if line["evaluation"]["accuracy"] >= 0.5)
    assert timed.costs["seconds"].to_target == pytest.approx(told[reached - 1]["clock"]["elapsed"])
    assert plain.costs.keys().isdisjoint({"seconds", "joules", "price"})
    headers = [column.header.replace("\n", " ") for column in table.columns([timed, plain])]
    assert {"sim. time", "energy", "price", "sim. time to 50 %"} <= set(headers)
    assert json.loads(to_json([timed]))[0]["costs"]["joules"]["total"] > 0


def test_without_a_clock_no_column_tells_of_it(runs):
    headers = [column.header for column in table.columns(summarise([runs / "plain"]))]
    assert not any("sim." in header or header in ("energy", "price") for header in headers)


def test_the_report_shows_them(runs, tmp_path):
    page = write_report(tmp_path, [runs]).read_text()
    assert 'data-name="sim. time"' in page
    assert 'data-name="energy"' in page
