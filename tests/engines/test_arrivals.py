"""An asynchronous run is one run: with any workers, after a stop, and from a recipe."""

import json
import re

import pytest
from typer.testing import CliRunner

import hedgerow as hr
from hedgerow.datasets.held_out import HeldOut
from hedgerow.experiments.cli.main import app
from hedgerow.experiments.config.parse import parse
from hedgerow.experiments.runs.replay import replay_run
from hedgerow.experiments.runs.run import run_experiment
from hedgerow.server.evaluation import EvaluationPlan
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


HEART = hr.load_dataset("heart-disease").split(hr.natural())


def adapted():
    """A task whose frozen weights a client is sent once."""
    from torch import nn

    return hr.Task(hr.lora(lambda: nn.Sequential(nn.Linear(29, 16), nn.ReLU(), nn.Linear(16, 2)), rank=1))


def test_constants_go_to_each_client_once():
    results = run(hr.fedbuff(2, sampling=hr.uniform(4)), 6, adapted(), HEART)
    sent = {name: [] for name in HEART.names}
    for result in results:
        for name, size in result.bytes_down.items():
            sent[name].append(size)
    assert sum(len(sizes) > 1 for sizes in sent.values()) > 0
    for sizes in sent.values():
        assert all(size > 1.5 * later for size in sizes[:1] for later in sizes[1:])
        assert len(set(sizes[1:])) <= 1


EIGHT = hr.load_dataset("heart-disease").split(hr.dirichlet(clients=8, alpha=1.0))
WITH_CONSTANTS = [hr.fedbuff(3, sampling=hr.uniform(4)), hr.fedavg(sampling=hr.uniform(3))]


@pytest.mark.parametrize("strategy", WITH_CONSTANTS)
@pytest.mark.parametrize("stopped", [1, 2, 3])
def test_a_run_with_constants_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path, strategy, stopped):
    more = {"clock": fleet(dropout=0.2), "folder": tmp_path / "a"}
    more |= {} if strategy.arrivals else {"over_select": 0.6}
    whole = run(strategy, 6, adapted(), EIGHT, **{**more, "folder": tmp_path / "whole"})
    parts = [*run(strategy, stopped, adapted(), EIGHT, **more), *run(strategy, 6, adapted(), EIGHT, **more)]
    assert figures(whole) == figures(parts)
    assert model(whole) == model(parts)


def test_a_downlink_takes_the_same_bytes_whether_more_are_asked_or_not():
    down = hr.fedavg(sampling=hr.uniform(2), downlink=hr.error_feedback(hr.top_k(0.05)))
    plan = EvaluationPlan()
    data = HeldOut(HEART, 0.25)
    usual, more = (
        run(down, 4, adapted(), data, client_evaluation=plan, **given) for given in ({}, {"over_select": 0.5})
    )
    for one, other in zip(usual[1:], more[1:], strict=True):
        assert max(other.bytes_down.values()) <= max(one.bytes_down.values()) + 200
