"""Accuracy against epsilon, from runs with known numbers."""

import json

import numpy as np
import pytest

from hedgerow.experiments.config.parse import parse
from hedgerow.experiments.config.schema import to_toml
from hedgerow.experiments.report import figures, tradeoff
from hedgerow.experiments.report.page import write_report
from hedgerow.experiments.report.results import load_groups

BYTES = {"plain": 4000, "central": 4000, "secure": 2000}


def make(folder, kind, epsilon, seed, accuracy, *, finished=True):
    private = {"clients_per_round": 5, "population": 20, "delta": 1e-2, "epsilon": epsilon}
    strategy = {
        "plain": {"name": "fedavg", "clients_per_round": 5},
        "central": {"name": "dp_fedavg", **private},
        "secure": {"name": "secure_dp_fedavg", **private, "clients_per_round": 10},
    }[kind]
    label = kind if kind == "plain" else f"{kind}, epsilon={epsilon}"
    experiment = parse(
        {
            "name": "costs", "label": label, "seed": seed, "rounds": 1,
            "data": {"name": "heart-disease", "partition": {"name": "natural"}},
            "model": {"name": "logistic"}, "strategy": strategy,
        }
    )  # fmt: skip
    spent = {} if kind == "plain" else {"epsilon": 0.99 * epsilon}
    line = {
        "round": 1, "seconds": 0.5, "bytes_up": BYTES[kind], "bytes_down": 4000, "dropped": {}, "failed": "",
        "clients": {"a": {"bytes_up": BYTES[kind], "bytes_down": 4000}}, "metrics": {},
        "evaluation": {"accuracy": accuracy, "loss": 1.0}, **spent,
    }  # fmt: skip
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(to_toml(experiment), encoding="utf-8")
    (folder / "metrics.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
    if finished:
        (folder / "model.safetensors").write_bytes(b"")


@pytest.fixture
def costs(tmp_path):
    for seed in (0, 1):
        make(tmp_path / f"plain-{seed}", "plain", 0.0, seed, 0.9)
        for epsilon in (8.0, 2.0):
            for kind, accuracy in (("central", 0.6), ("secure", 0.5)):
                reached = accuracy + epsilon / 100 + seed / 50
                make(tmp_path / f"{kind}-{epsilon}-{seed}", kind, epsilon, seed, reached)
    return tmp_path


def test_families_hold_exactly_the_figures_of_the_runs(costs):
    make(costs / "unfinished", "central", 4.0, 0, 0.1, finished=False)
    found = {family.label: family for family in tradeoff.families(load_groups([costs]))}
    assert list(found) == ["central", "plain", "secure"]
    central = found["central"]
    assert central.epsilon == pytest.approx([1.98, 7.92])
    assert central.mean == pytest.approx([0.63, 0.69])
    assert central.low == pytest.approx([0.62, 0.68])
    assert central.high == pytest.approx([0.64, 0.70])
    assert not found["plain"].private
    assert found["plain"].mean.tolist() == [0.9]
    assert sorted(family.place for family in found.values()) == [0, 1, 2]


def test_near_values_of_epsilon_share_a_tick(costs):
    assert tradeoff.epsilon_ticks(tradeoff.families(load_groups([costs]))) == pytest.approx([1.98, 7.92])


def test_the_report_draws_them(costs, tmp_path):
    page = write_report(tmp_path / "out", [costs]).read_text(encoding="utf-8")
    assert 'data-figure="accuracy-privacy"' in page
    figure = figures.accuracy_epsilon(tradeoff.families(load_groups([costs])))
    marks = {mark["label"]: mark for mark in figure["marks"]}
    assert marks["secure"]["y"] == pytest.approx([0.53, 0.59])
    assert marks["plain"]["dash"] == 1
    assert marks["plain"]["y"] == [0.9, 0.9]
    assert np.allclose(np.subtract(marks["central"]["high"], marks["central"]["y"]), 0.01)


def test_without_several_budgets_there_is_nothing_to_draw(tmp_path):
    make(tmp_path / "runs" / "one", "central", 2.0, 0, 0.6)
    make(tmp_path / "runs" / "other", "plain", 0.0, 0, 0.9)
    assert tradeoff.families(load_groups([tmp_path / "runs"])) == []
    page = write_report(tmp_path / "out", [tmp_path / "runs"]).read_text(encoding="utf-8")
    assert 'data-figure="accuracy-privacy"' not in page
