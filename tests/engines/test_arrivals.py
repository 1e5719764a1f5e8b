"""An asynchronous run is one run: with any workers, after a stop, and from a recipe."""

import json
import re

import pytest
from typer.testing import CliRunner

import hedgerow as hr
from hedgerow.experiments.cli.main import app
from hedgerow.experiments.config.parse import parse
from hedgerow.experiments.runs.replay import replay_run
from hedgerow.experiments.runs.run import run_experiment
from hedgerow.simulation.clock.availability import daily
from tests.clocks import fleet, model, run

SENT = hr.parse_pipeline("error_feedback(top_k(0.2))")
STRATEGIES = {
    "fedbuff": hr.fedbuff(3, sampling=hr.uniform(6), pipeline=SENT),
    "fedasync": hr.fedasync(sampling=hr.uniform(6), pipeline=SENT),
}
SETTINGS = {
    "nothing": {},
    "late": {"timeout": 1.0},
    "dropouts": {"clock": fleet(dropout=0.4), "timeout": 30.0},
    "nights": {"clock": fleet(availability=daily(hours=3.0, spread=6.0), lost_after=5.0)},
}
BOTH = pytest.mark.parametrize("strategy", STRATEGIES)
ALL = pytest.mark.parametrize("name", SETTINGS)


def figures(results):
    return [(r.spent, r.cohort, r.dropped, r.bytes_up, r.bytes_down, r.staleness) for r in results]


@BOTH
@ALL
def test_any_number_of_workers_gives_one_run(strategy, name):
    alone = run(STRATEGIES[strategy], rounds=8, **SETTINGS[name])
    several = run(STRATEGIES[strategy], rounds=8, workers=2, **SETTINGS[name])
    assert figures(alone) == figures(several)
    assert model(alone) == model(several)


@BOTH
@ALL
def test_a_run_that_was_stopped_goes_on_with_what_was_on_its_way(tmp_path, strategy, name):
    given = SETTINGS[name]
    whole = run(STRATEGIES[strategy], rounds=9, folder=tmp_path / "whole", **given)
    parts = []
    for rounds in (2, 5, 9):
        parts += run(STRATEGIES[strategy], rounds=rounds, folder=tmp_path / "parts", **given)
    assert figures(whole) == figures(parts)
    assert model(whole) == model(parts)


def recipe(**changes):
    return parse({
        "name": "arriving", "rounds": 5,
        "data": {"name": "heart-disease", "partition": {"name": "natural"}}, "model": {"name": "logistic"},
        "strategy": {"name": "fedbuff", "buffer": 2, "clients_per_round": 3},
        "clock": {"devices": ["pi-4", "pi-zero-2-w"], "links": ["wifi", "nb-iot"], "shares": [0.5, 0.5]},
        "run": {"record": True},
        **changes,
    })  # fmt: skip


def test_a_recipe_runs_is_written_down_and_replayed(tmp_path):
    run_experiment(recipe(), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["round"] for line in lines] == [1, 2, 3, 4, 5]
    assert all(len(line["staleness"]) == 2 for line in lines)
    assert lines[-1]["clock"]["elapsed"] > 0
    assert replay_run(tmp_path).same


def test_a_real_federation_refuses_it_by_name_in_one_sentence(tmp_path):
    from hedgerow.simulation.grid import InProcessGrid

    grid = InProcessGrid(lambda message, context: message, 4)
    why = r"strategy is 'fedbuff'; a real federation trains in rounds only"
    with pytest.raises(ValueError, match=why):
        run_experiment(recipe(), tmp_path / "run", grid=grid)
    overrides = ["strategy.name=fedbuff", "strategy.quorum=0.5", "clock.lost_after=5.0"]
    told = CliRunner().invoke(app, ["up", "heart", *overrides, "--federation", str(tmp_path / "federation")])
    assert told.exit_code == 1
    assert re.search(why, " ".join(told.output.split()))
    assert not (tmp_path / "federation").exists()


def test_constants_go_to_each_client_once():
    from torch import nn

    def net():
        return hr.lora(lambda: nn.Sequential(nn.Linear(29, 16), nn.ReLU(), nn.Linear(16, 2)), rank=1)()

    data = hr.load_dataset("heart-disease").split(hr.natural())
    strategy = hr.fedbuff(2, sampling=hr.uniform(4))
    results = list(hr.simulate(hr.Task(net), data, strategy, rounds=6, clock=fleet(flops_per_example=1e6)))
    sent = {name: [] for name in data.names}
    for result in results:
        for name, size in result.bytes_down.items():
            sent[name].append(size)
    assert sum(len(sizes) > 1 for sizes in sent.values()) > 0
    for sizes in sent.values():
        assert all(size > 1.5 * later for size in sizes[:1] for later in sizes[1:])
        assert len(set(sizes[1:])) <= 1
