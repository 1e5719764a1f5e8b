"""Clients measure the model on what they hold out; who cannot is named, and the run goes on."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest
from flwr.app import Context, Message, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from hedgerow import records
from hedgerow.client.app import client_app
from hedgerow.datasets import HeldOut
from hedgerow.experiments.config.errors import ConfigError
from hedgerow.experiments.config.recipe import load
from hedgerow.experiments.runs.run import run_experiment
from hedgerow.experiments.runs.simulate import simulate
from hedgerow.records import to_flower
from hedgerow.secure.errors import NotMasked
from hedgerow.server.evaluation import EvaluationPlan, StartEvaluation
from hedgerow.server.rounds import begin, rounds
from hedgerow.simulation import flower
from hedgerow.simulation.grid import InProcessGrid
from hedgerow.strategies import dp_fedavg, fedavg, parse_pipeline, poisson, secure_fedavg, uniform
from hedgerow.types import Deployment, LocalTraining
from hedgerow.types.evaluation import ClientEvaluation, Measured
from hedgerow.wire.evaluation import pack_evaluation
from hedgerow.wire.messages import pack_train
from tests.support import LAYOUT, MeanTrainer, clients

ALL = EvaluationPlan()
values = st.lists(st.tuples(st.integers(1, 50), st.floats(0, 1)), min_size=1, max_size=25)


def summary(pairs, name="accuracy"):
    found = {f"c{i:02d}": Measured(n, {name: value}) for i, (n, value) in enumerate(pairs)}
    return ClientEvaluation(found).summary()[name]


@given(values)
def test_the_figures_are_those_of_numpy(pairs):
    n, v = (np.array(column, float) for column in zip(*pairs, strict=True))
    found, worst = summary(pairs), int(np.ceil(len(v) / 10))
    assert found.clients == len(v)
    expected = [v.mean(), np.average(v, weights=n), np.sort(v)[:worst].mean(), v.std()]
    measured = [found.mean, found.weighted_mean, found.worst_tenth, found.spread]
    np.testing.assert_allclose(measured, expected, rtol=1e-12, atol=1e-12)


@given(values, st.randoms())
def test_the_order_of_clients_shows_in_no_bit(pairs, random):
    shuffled = list(pairs)
    random.shuffle(shuffled)
    assert summary(shuffled) == summary(pairs)


@given(values)
def test_the_worst_tenth_of_a_loss_is_that_of_the_highest(pairs):
    assert summary(pairs, "loss").worst_tenth == pytest.approx(
        1 - summary([(n, 1 - value) for n, value in pairs]).worst_tenth
    )


@dataclass(frozen=True)
class Fails(MeanTrainer):
    """Cannot measure where the first sample is marked."""

    def evaluate(self, model, data):
        if len(data) % 5 == 0:
            raise ValueError("these samples are not measured")
        return super().evaluate(model, data)


@dataclass(frozen=True)
class Noisy(MeanTrainer):
    """Says that it adds noise to samples."""

    supports = frozenset({"clip_samples", "sample_noise"})


def run(strategy=None, plan=ALL, trainer=None, workers=1, count=3, number=14):
    strategy = strategy or fedavg(sampling=uniform(5), local=LocalTraining(learning_rate=0.1))
    trainer, data = trainer or MeanTrainer(), HeldOut(clients(number), 0.4)
    app = client_app(trainer, data, strategy, deployment=Deployment.SIMULATED)
    with InProcessGrid(app, number, names=data.names, workers=workers) as grid:
        state = begin(strategy, trainer.initial(0), trainer.layout)
        yield from rounds(
            grid, strategy, state, trainer.layout, num_rounds=count,
            deployment=Deployment.SIMULATED, client_evaluation=plan,
        )  # fmt: skip


def test_each_client_measures_the_model_of_the_round_on_what_it_did_not_train_on():
    data = HeldOut(clients(14), 0.4)
    for result in run():
        found = result.client_evaluation
        held = {name: data.held_out(name) for name in data.names}
        assert found.clients.keys() == {name for name, samples in held.items() if len(samples)}
        assert found.dropped == {
            name: f"it failed: HoldsNothingOut: client {name!r} holds no samples out: it has too few"
            for name, samples in held.items()
            if not len(samples)
        }
        for name, measured in found.clients.items():
            assert measured.num_examples == len(held[name])
            assert measured.metrics == MeanTrainer().evaluate(result.state.model, held[name])


@pytest.mark.parametrize("fraction", [1.0, 0.4])
def test_the_figures_are_the_same_with_one_worker_and_with_two(fraction):
    plan = EvaluationPlan(fraction)
    one, two = (
        [
            replace(result, seconds=0.0, state=None)
            for result in run(plan=plan, workers=workers, trainer=Fails())
        ]
        for workers in (1, 2)
    )
    assert one == two
    assert any(result.client_evaluation.dropped for result in one)


def test_to_measure_changes_no_training_and_no_bytes_of_training():
    strategy = fedavg(pipeline=parse_pipeline("error_feedback(top_k(0.2))"), sampling=uniform(5))
    for with_, without in zip(run(strategy), run(strategy, None), strict=True):
        assert with_.state.model.parameters.tobytes() == without.state.model.parameters.tobytes()
        assert (with_.bytes_up, with_.bytes_down) == (without.bytes_up, without.bytes_down)
        assert without.client_evaluation is None


def test_a_client_that_fails_is_dropped_by_name_and_the_run_goes_on():
    results = list(run(trainer=Fails()))
    assert len(results) == 3
    for result in results:
        found = result.client_evaluation
        assert found.dropped
        assert not found.dropped.keys() & found.clients.keys()
        failed = [why for why in found.dropped.values() if "too few" not in why]
        assert failed
        assert set(failed) == {"it failed: ValueError: these samples are not measured"}


def test_a_fraction_of_the_clients_is_drawn_anew_in_each_round_and_alike_in_each_run():
    plan = EvaluationPlan(0.5)
    asked = [[*r.client_evaluation.bytes_down] for r in run(plan=plan)]
    assert asked == [[*r.client_evaluation.bytes_down] for r in run(plan=plan)]
    assert all(len(names) == 7 for names in asked)
    assert asked[0] != asked[1]


def test_clients_measure_after_every_so_many_rounds_and_the_last():
    measured = [r.client_evaluation is not None for r in run(plan=EvaluationPlan(every=3), count=5)]
    assert measured == [False, False, True, False, True]


def test_bytes_of_an_evaluation_are_those_of_its_messages():
    *_, last = run(count=2)
    found, model = last.client_evaluation, last.state.model
    request = pack_train(model, LAYOUT, round=2, seed=0)
    assert set(found.bytes_down.values()) == {records.measure(to_flower(request))}
    for name, measured in found.clients.items():
        reply = pack_evaluation(measured, round=2, client=name)
        assert found.bytes_up[name] == records.measure(to_flower(reply))


PROTECTED = {
    "mask": (secure_fedavg(clip_norm=1.0), "shows the server only a sum"),
    "noise": (
        dp_fedavg(1.0, 1.0, delta=1e-3, sampling=poisson(4, population=14)),
        "promises an epsilon for each client",
    ),
    "sample noise": (
        fedavg(local=LocalTraining(clip_samples=1.0, sample_noise=1.0, sample_rate=0.1, sample_delta=1e-3)),
        "promises an epsilon for each sample",
    ),
}


@pytest.mark.parametrize("protection", sorted({*PROTECTED} - {"mask"}))
def test_what_a_strategy_adds_noise_to_is_not_measured(protection):
    strategy, why = PROTECTED[protection]
    with pytest.raises(ValueError, match=why):
        next(run(strategy, trainer=Noisy()))


@pytest.mark.parametrize("protection", PROTECTED)
def test_a_client_refuses_by_itself_to_tell_what_its_strategy_protects(protection):
    strategy, why = PROTECTED[protection]
    app = client_app(Noisy(), HeldOut(clients(3), 0.4), strategy, guard=None, deployment=Deployment.MASKED)
    model = MeanTrainer().initial(0)
    content = to_flower(pack_train(model, LAYOUT, round=1, seed=0))
    context = Context(1, 1, {"partition-id": 0}, RecordDict(), {})
    with flower.task_identity(1):
        message = flower.instruction(1, "m", 1, content, message_type="evaluate", group_id="1")
        with pytest.raises(NotMasked, match=why):
            app(message, context)


def test_a_recipe_that_protects_its_clients_is_refused_before_it_runs():
    with pytest.raises(ConfigError, match=r"evaluation.clients = \"all\": it must be left out"):
        load("private", ["evaluation.clients=all"])


def test_data_that_hold_nothing_out_are_refused_before_the_first_round(tmp_path):
    with pytest.raises(ValueError, match=r"hold no samples out; give \[data\] held_out = 0.2"):
        next(simulate(MeanTrainer(), clients(3), fedavg(), rounds=1, client_evaluation=ALL))
    grid = InProcessGrid(client_app(MeanTrainer(), clients(4), fedavg()), 4)
    with pytest.raises(ValueError, match=r"hold no samples out"):
        run_experiment(load("heart", ["evaluation.clients=all"]), tmp_path / "run", grid=grid)


def reply(changed=None, **options):
    options = {"round": 1, "client": "a"} | options
    content = pack_evaluation(Measured(3, {"loss": 0.5}), **options)
    for name, record in (changed or {}).items():
        content[name] = record
    with flower.task_identity(1):
        asked = flower.instruction(1, "m", 1, RecordDict(), message_type="evaluate", group_id="1")
        return Message(to_flower(content), reply_to=asked)


def metrics(**values):
    content = pack_evaluation(Measured(3, {"loss": 0.5}), round=1, client="a")["hedgerow.metrics"]
    for name, value in values.items():
        content[name.replace("_", "-") if name.startswith("num") else name] = value
    return {"hedgerow.metrics": content}


def test_a_reply_that_is_as_it_must_be_counts():
    collector = StartEvaluation(LAYOUT)(1)
    collector.add("a", reply())
    assert collector.collected.clients == {"a": Measured(3, {"loss": 0.5})}


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (lambda: None, "did not reply in time"),
        (lambda: reply(round=2), "is for round 2"),
        (lambda: reply(client="b"), "is signed 'b'"),
        (lambda: reply(metrics(**{"metric.loss": float("nan")})), "must be one finite number"),
        (lambda: reply(metrics(**{"metric.loss": 1e200})), "at most 1e+30 counts"),
        (lambda: reply(metrics(num_examples=0)), "no examples"),
        (lambda: reply(metrics(num_examples=2**50)), "number of examples"),
        (lambda: reply({"payload": pack_train(MeanTrainer().initial(0), LAYOUT, round=1, seed=0)["model"]}),
         "must have none"),
        (lambda: reply({"more": metrics()["hedgerow.metrics"]}), "has records"),
    ],
)  # fmt: skip
def test_a_reply_that_is_not_as_it_must_be_drops_its_client(bad, told):
    collector = StartEvaluation(LAYOUT)(1)
    collector.add("a", bad())
    assert told in collector.collected.dropped["a"]
    assert not collector.collected.clients


def test_a_run_writes_down_how_the_metrics_lie_and_on_request_each_client(tmp_path):
    overrides = ["rounds=2", "data.held_out=0.25", "evaluation.clients=all"]
    plain = run_experiment(load("heart", overrides), tmp_path / "plain")
    each = run_experiment(load("heart", [*overrides, "evaluation.per_client=true"]), tmp_path / "each")
    assert not (plain.path / "clients.jsonl").exists()
    lines = each.rounds("clients.jsonl")
    assert [line["round"] for line in lines] == [1, 2]
    told = each.rounds()[-1]["client_evaluation"]
    accuracies = [client["accuracy"] for client in lines[-1]["clients"].values()]
    assert told["metrics"]["accuracy"]["mean"] == pytest.approx(np.mean(accuracies))
    assert told["metrics"]["accuracy"]["worst_tenth"] == min(accuracies)
    assert told["metrics"]["accuracy"]["spread"] == pytest.approx(np.std(accuracies))
    assert told["bytes_up"] > 0
    assert told["bytes_down"] > told["bytes_up"]
    assert json.dumps(told) == json.dumps(plain.rounds()[-1]["client_evaluation"])
