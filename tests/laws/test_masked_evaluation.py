"""What clients measure under a mask adds up to what they measure, whatever it is, and shows nothing more."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.client.app import client_app
from hedgerow.client.secure.enrolment import SimulatedEnrolments
from hedgerow.datasets import HeldOut
from hedgerow.experiments.config.errors import ConfigError
from hedgerow.experiments.config.recipe import load
from hedgerow.experiments.runs.evaluate import evaluate_run
from hedgerow.experiments.runs.run import run_experiment
from hedgerow.experiments.runs.simulate import simulate
from hedgerow.promotion.candidates import measured as known_of
from hedgerow.ring.vector import MOST_CLIENTS, RingSum, open_payload, read_vector
from hedgerow.server.evaluation import EvaluationPlan
from hedgerow.server.rounds import begin, rounds
from hedgerow.simulation.grid import InProcessGrid
from hedgerow.strategies import fedavg, parse_pipeline, uniform
from hedgerow.strategies.measuring import NOTHING, measured_means, measured_shape, measured_vector
from hedgerow.types.evaluation import Measured
from tests.support import MeanTrainer, clients

PIPELINE = parse_pipeline("chain(clip(5.0), quantize(8, range=1.0), mask())")
STRATEGY = fedavg(pipeline=PIPELINE, sampling=uniform(11), weighted=False)
SECURE = PIPELINE.protection.secure
ALL, NUMBER = EvaluationPlan(), 14
STAGES = ("keys", "shares", "masked", "survivors", "unmask")


def summed(cohort: list[Measured]) -> RingSum:
    shape = measured_shape(SECURE, len(cohort))
    total = RingSum(shape)
    for each in cohort:
        total.add(read_vector(open_payload(measured_vector(each, shape), shape), shape))
    return total


def of(hits: int, examples: int, loss: float) -> Measured:
    return Measured(examples, {"accuracy": hits / examples, "loss": loss})


honest = st.integers(1, 10_000).flatmap(
    lambda examples: st.builds(of, st.integers(0, examples), st.just(examples), st.floats(-1024, 1024))
)


@given(st.lists(honest, min_size=1, max_size=20))
def test_the_means_are_those_of_the_plain_sums_and_hits_are_counted_exactly(cohort) -> None:
    found, examples = measured_means(summed(cohort), len(cohort)), sum(c.num_examples for c in cohort)
    hits = sum(round(c.num_examples * c.metrics["accuracy"]) for c in cohort)
    assert found["accuracy"] == hits / examples
    loss = math.fsum(c.num_examples * c.metrics["loss"] for c in cohort)
    # Each client rounds its sum to a multiple of 2^-20; the largest sums have a few bits of float64 less.
    assert abs(found["loss"] - loss / examples) <= (len(cohort) * 2**-21 + abs(loss) * 2**-50) / examples
    assert set(found) == {"accuracy", "loss"}, "nobody has measured mae"


odd = st.floats(allow_nan=True, allow_infinity=True)


@given(
    st.lists(
        st.tuples(st.integers(0, 2**62), odd, st.floats(0, 1) | st.just(math.nan)), min_size=1, max_size=9
    )
)
def test_whatever_a_client_measures_it_adds_no_more_than_its_share_of_the_ring(given_) -> None:
    for examples, loss, accuracy in given_:
        each = Measured(examples, {"loss": loss, "accuracy": accuracy, "mae": loss})
        words = measured_vector(each, measured_shape(SECURE, MOST_CLIENTS)).words.view(np.int64).tolist()
        assert MOST_CLIENTS * max(abs(word) for word in words) < 2**63
    cohort = [Measured(n, {"loss": loss, "accuracy": right}) for n, loss, right in given_]
    if any(examples for examples, *_ in given_):
        found = measured_means(summed(cohort), len(cohort))
        assert -1024 <= found["loss"] <= 1024
        assert 0 <= found["accuracy"] <= 1


@pytest.mark.parametrize("loss", [math.inf, -math.inf, math.nan, 1e308, -1024.0])
def test_the_largest_cohort_with_the_most_samples_and_the_worst_loss_does_not_overflow(loss) -> None:
    shape = measured_shape(SECURE, MOST_CLIENTS)
    total = RingSum(shape)
    vector = measured_vector(Measured(2**40, {"loss": loss, "accuracy": 1.0}), shape)
    for _ in range(MOST_CLIENTS):
        total.add(vector)
    bound = -1024.0 if loss in (-math.inf, -1024.0) else 1024.0
    assert measured_means(total, MOST_CLIENTS) == {"loss": bound, "accuracy": 1.0}
    with pytest.raises(ValueError, match="from 1 to 4096"):
        measured_shape(SECURE, MOST_CLIENTS + 1)


def test_what_is_not_a_number_counts_as_the_worst_there_is() -> None:
    half = [of(1, 2, 1.0), Measured(2, {"loss": math.nan, "accuracy": math.nan})]
    assert measured_means(summed(half), 2) == {"loss": 512.5, "accuracy": 0.25}


def test_an_accuracy_in_percent_is_refused_and_not_cut_to_one() -> None:
    with pytest.raises(ValueError, match=r"accuracy is 87\.5; it must be from 0 to 1"):
        measured_vector(Measured(8, {"accuracy": 87.5}), measured_shape(SECURE, 10))


LIES = {
    "a client twice": (0, 1),
    "more samples than there can be": (1, 2**40),
    "fewer than none": (1, -9),
    "a loss beyond its range": (2, 2**62),
    "more hits than samples": (4, 2**20),
    "hits below none": (4, -(2**24)),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_sum_that_no_honest_clients_have_is_refused(lie) -> None:
    total, (word, more) = summed([of(4, 4, 0.5), of(2, 4, 0.5)]), LIES[lie]
    if lie != "more hits than samples":
        assert measured_means(total, 2) == {"accuracy": 0.75, "loss": 0.5}
    total.words.view(np.int64)[word] += more * (1 if lie != "more hits than samples" else 3)
    with pytest.raises(ValueError, match="under a mask nobody can say who"):
        measured_means(total, 2)


def test_where_nobody_holds_anything_out_there_is_nothing_to_tell() -> None:
    with pytest.raises(ValueError, match="no client has measured any of loss, accuracy, mae"):
        measured_means(summed([NOTHING] * 3), 3)


def test_other_metrics_are_summed_where_the_strategy_names_them() -> None:
    secure = parse_pipeline("chain(quantize(8, range=1.0), mask(measured='f1'))").protection.secure
    shape = measured_shape(secure, 3)
    total = RingSum(shape)
    total.add(measured_vector(Measured(2, {"f1": 0.5, "loss": 9.0}), shape))
    assert measured_means(total, 1) == {"f1": 0.5}


# In a simulation


def run(data=None, plan=ALL, trainer=None, **options):
    data = data or HeldOut(clients(NUMBER), 0.4)
    options = {"rounds": 2, "client_evaluation": plan, **options}
    return list(simulate(trainer or MeanTrainer(), data, STRATEGY, **options))


def facts(results) -> list[tuple]:
    found = [r.client_evaluation for r in results]
    return [(f.weighted_means, f.clients, f.failed, f.dropped) for f in found]


def test_with_masks_and_without_them_with_one_worker_and_with_two_the_means_are_the_same_bits() -> None:
    plain, data = run(), HeldOut(clients(NUMBER), 0.4)
    for options in ({"masks": True}, {"masks": True, "workers": 2}, {"workers": 2}):
        assert facts(run(**options)) == facts(plain)
    held = [samples for name in data.names if len(samples := data.held_out(name))]
    assert len(held) < NUMBER, "one holds nothing out, adds nothing, and counts all the same"
    for result in plain:
        losses = [MeanTrainer().evaluate(result.state.model, samples)["loss"] for samples in held]
        expected = np.average(losses, weights=[len(samples) for samples in held])
        assert result.client_evaluation.weighted_means["loss"] == pytest.approx(expected, abs=1e-6)
        assert len(result.client_evaluation.clients) == NUMBER


def test_to_measure_changes_no_training_and_what_is_told_names_no_client() -> None:
    for with_, without in zip(run(masks=True), run(masks=True, plan=None), strict=True):
        assert with_.state.model.parameters.tobytes() == without.state.model.parameters.tobytes()
        assert with_.metrics == without.metrics
        assert with_.client_evaluation.each == {}
        assert vars(with_.client_evaluation.summary()["loss"]).keys() == {"weighted_mean"}
        assert known_of(with_) == with_.client_evaluation.weighted_means


@pytest.mark.parametrize("masks", [False, True])
def test_too_few_clients_leave_the_measurement_out_and_the_run_goes_on(masks) -> None:
    for result in run(plan=EvaluationPlan(0.5), masks=masks):
        found = result.client_evaluation
        assert found.failed == "secure aggregation needs a cohort of 10; 7 clients are available"
        assert (found.weighted_means, found.bytes_down, result.failed) == ({}, {}, "")


@dataclass(frozen=True)
class Fails(MeanTrainer):
    """Cannot measure where the number of samples is marked."""

    marked: int = 2

    def evaluate(self, model, data):
        if len(data) % self.marked == 0:
            raise ValueError("these samples are not measured")
        return super().evaluate(model, data)


def test_who_cannot_measure_is_named_and_where_it_is_too_many_the_reason_is_the_same_without_masks() -> None:
    for marked, few in ((5, True), (1, False)):
        plain, masked = (run(trainer=Fails(marked=marked), masks=masks, rounds=1) for masks in (False, True))
        assert [f[2] for f in facts(plain)] == [f[2] for f in facts(masked)]
        assert [sorted(f[3]) for f in facts(plain)] == [sorted(f[3]) for f in facts(masked)]
        for result in (*plain, *masked):
            assert result.client_evaluation.dropped
            assert bool(result.client_evaluation.weighted_means) == few
            assert ("TooFewSurvivors" in result.client_evaluation.failed) != few


class Unwell:
    """A client app in which some clients fail at a stage of an evaluation."""

    def __init__(self, app, stage: str, ill: set[str]) -> None:
        self.app, self.stage, self.ill = app, f"evaluate.{stage}", ill
        self.told: list[str] = []

    def __call__(self, message, context):
        kind, name = message.metadata.message_type, context.node_config["client-name"]
        if kind == "evaluate.failed":
            self.told.append(name)
        if kind == self.stage and name in self.ill:
            raise RuntimeError("the battery is empty")
        return self.app(message, context)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("ill", [2, 8])
def test_clients_that_leave_at_a_stage_are_named_and_the_round_counts_all_the_same(stage, ill) -> None:
    data, trainer = HeldOut(clients(NUMBER), 0.4), MeanTrainer()
    enrolled = SimulatedEnrolments(bytes(32)).enrolment
    app = Unwell(client_app(trainer, data, STRATEGY, enrolment=enrolled), stage, set(data.names[:ill]))
    with InProcessGrid(
        app, NUMBER, names=data.names, node_config=lambda i: {"client-name": data.names[i]}
    ) as grid:
        state = begin(STRATEGY, trainer.initial(0), trainer.layout)
        (result,) = rounds(grid, STRATEGY, state, trainer.layout, num_rounds=1, client_evaluation=ALL)
    assert result.failed == ""
    found = result.client_evaluation
    if ill == 2:
        gone = [] if stage in ("survivors", "unmask") else list(data.names[:2])
        assert (found.failed, list(found.dropped), len(found.clients)) == ("", gone, NUMBER - len(gone))
        assert found.weighted_means["loss"] > 0
        return
    assert "secure aggregation failed: TooFew" in found.failed
    assert (found.weighted_means, found.clients) == ({}, ())
    assert len(app.told) == NUMBER - ill


# In a recipe

RECIPE = [
    "rounds=2", "strategy.name=secure_fedavg", "strategy.min_clients=3", "strategy.dropout=0.0",
    "strategy.corrupt=0.0", "data.held_out=0.25", "evaluation.clients=all",
]  # fmt: skip


def test_a_run_writes_down_means_alone_and_they_can_be_had_again(tmp_path) -> None:
    done = run_experiment(load("heart", RECIPE), tmp_path / "run")
    told = done.rounds()[-1]["client_evaluation"]
    assert told["clients"] == 4
    assert set(told["metrics"]) == {"loss", "accuracy"}
    assert {figure for metric in told["metrics"].values() for figure in metric} == {"weighted_mean"}
    again = evaluate_run(tmp_path / "run")
    assert {name: mean.weighted_mean for name, mean in again.summary().items()} == {
        name: metric["weighted_mean"] for name, metric in told["metrics"].items()
    }
    assert not (tmp_path / "run" / "clients.jsonl").exists()
    with pytest.raises(ConfigError, match=r"evaluation.per_client = true: it must be left out"):
        load("heart", [*RECIPE, "evaluation.per_client=true"])
