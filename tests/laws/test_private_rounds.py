"""What a private run does, and does not, let out."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from flwr.clientapp import ClientApp

from hedgerow.client.app import client_app
from hedgerow.privacy.accounting import Budget
from hedgerow.privacy.ledger import LedgerError
from hedgerow.server.app import train
from hedgerow.server.checkpoint import load_checkpoint
from hedgerow.server.rounds import begin, rounds
from hedgerow.simulation.grid import InProcessGrid
from hedgerow.strategies import (
    Strategy,
    cyclic,
    dp_fedavg,
    fedavg,
    parse_pipeline,
    poisson,
    secure_dp_fedavg,
    uniform,
)
from hedgerow.strategies.aggregates.base import Aggregate
from hedgerow.strategies.aggregates.mean import FixedPointMean
from hedgerow.types import Deployment, Layout, LocalTraining, Model, Tensor
from tests.support import DIMENSION, LAYOUT, MeanTrainer, clients

ADAPTIVE = dp_fedavg(
    0.5, 1.0, clip_quantile=0.5, delta=1e-3, server_momentum=0.5,
    sampling=poisson(4, population=12), local=LocalTraining(learning_rate=0.1),
)  # fmt: skip
SKELLAM = secure_dp_fedavg(
    1.0,
    2.0,
    1e-3,
    noise="skellam",
    corrupt=0.0,
    dropout=0.3,
    min_clients=5,
    sampling=cyclic(6, population=12),
)


def run(strategy, folder=None, count=5, data=None, workers=1, seeded=True, trainer=None):
    trainer, data = trainer or MeanTrainer(), data or clients(12)
    deployment = Deployment.SIMULATED if seeded else Deployment.REHEARSED
    app = client_app(trainer, data, strategy, deployment=deployment)
    with InProcessGrid(app, len(data.names), names=data.names, workers=workers) as grid:
        yield from train(
            grid, strategy, trainer.initial(0), trainer.layout,
            num_rounds=count, folder=folder, deployment=deployment,
        )  # fmt: skip


def test_one_seed_gives_one_model_with_any_number_of_workers():
    one, two = (list(run(ADAPTIVE, workers=workers))[-1].state for workers in (1, 2))
    assert np.array_equal(one.model.parameters, two.model.parameters)
    assert {k: v.tolist() for k, v in one.private.items()} == {k: v.tolist() for k, v in two.private.items()}
    assert one.private["clip_norm"][0] != 0.5


def stopped_in(results, round) -> None:
    """End a run so that the ledger has this round and the checkpoint does not: it is run again."""
    for result in results:
        if result.round == round:
            with pytest.raises(KeyboardInterrupt):
                results.throw(KeyboardInterrupt())


@pytest.mark.parametrize("strategy", [ADAPTIVE, SKELLAM], ids=["adaptive", "skellam"])
def test_stopped_at_any_round_and_resumed_it_ends_with_the_same_model_and_epsilon(tmp_path, strategy):
    whole = list(run(strategy, tmp_path / "whole"))[-1]
    assert whole.epsilon > 0
    for stop in (1, 3):
        folder = tmp_path / str(stop)
        stopped_in(run(strategy, folder), stop)
        last = list(run(strategy, folder))[-1]
        assert np.array_equal(last.state.model.parameters, whole.state.model.parameters)
        assert last.epsilon == whole.epsilon
        assert (folder / "privacy.jsonl").read_bytes() == (tmp_path / "whole" / "privacy.jsonl").read_bytes()


def test_in_a_real_run_a_round_that_is_run_again_counts_again(tmp_path):
    stopped_in(run(ADAPTIVE, tmp_path / "run", seeded=False), 3)
    last = list(run(ADAPTIVE, tmp_path / "run", seeded=False))[-1]
    lines = [json.loads(line) for line in (tmp_path / "run" / "privacy.jsonl").read_text().splitlines()]
    assert [line["round"] for line in lines] == [1, 2, 3, 3, 4, 5]
    assert {line["noise"] for line in lines} == {"system"}
    assert last.epsilon > list(run(ADAPTIVE))[-1].epsilon


def test_the_ledger_says_where_the_noise_came_from(tmp_path):
    list(run(ADAPTIVE, tmp_path / "run", count=2))
    lines = [json.loads(line) for line in (tmp_path / "run" / "privacy.jsonl").read_text().splitlines()]
    assert [(line["round"], line["noise"]) for line in lines] == [(n, "seeded: a simulation") for n in (1, 2)]
    assert lines[0]["event"] == {
        "kind": "poisson sampled", "rate": 4 / 12, "event": {"kind": "gaussian", "noise_multiplier": 1.0},
    }  # fmt: skip


def test_real_cohorts_do_not_follow_from_the_seed():
    drawn = {tuple(r.cohort for r in run(ADAPTIVE, seeded=False)) for _ in range(3)}
    assert len(drawn) == 3
    assert len({tuple(r.cohort for r in run(ADAPTIVE)) for _ in range(2)}) == 1


def test_a_run_ends_before_its_budget_is_passed(tmp_path):
    strategy = replace(ADAPTIVE, budget=Budget(1e-3, epsilon=4.0))
    results = list(run(strategy, tmp_path / "run", count=50))
    assert 0 < len(results) < 50
    assert results[-1].epsilon <= 4.0
    assert (tmp_path / "run" / "model.safetensors").is_file(), "the run has ended, and not failed"
    assert list(run(strategy, tmp_path / "run", count=50)) == []
    assert [r.epsilon for r in results] == sorted(r.epsilon for r in results)


def test_no_metric_of_the_clients_is_released():
    assert all(result.metrics == {} for result in run(ADAPTIVE))
    assert any(r.metrics for r in run(fedavg(sampling=uniform(4))))


def test_the_sum_is_divided_by_the_expected_cohort_and_no_quorum_holds_it_back():
    """Clients that fail are not told from clients that were not drawn."""
    broken = replace(ADAPTIVE, sampling=poisson(12, population=12))

    class Failing(MeanTrainer):
        def fit(self, model, data, local, *, seed, round, client):
            raise ValueError("no battery")

    for result in run(broken, trainer=Failing()):
        assert len(result.dropped) == 12
        assert result.failed == ""
        assert result.epsilon > 0
    none = [r.state.model.parameters for r in run(broken, trainer=Failing())]
    assert not np.array_equal(none[0], MeanTrainer().initial(0).parameters), "noise alone is released"


def test_under_a_ledger_that_cannot_be_written_nothing_is_released(tmp_path):
    results = []
    for result in run(ADAPTIVE, tmp_path / "run", count=4):
        results.append(result)
        if result.round == 1:
            (tmp_path / "run" / "privacy.jsonl").unlink()
            (tmp_path / "run" / "privacy.jsonl").mkdir()
        if result.round == 2:
            (tmp_path / "run" / "privacy.jsonl").rmdir()
    assert "the ledger cannot be written" in results[1].failed
    assert np.array_equal(results[1].state.model.parameters, results[0].state.model.parameters)
    assert results[1].epsilon == results[0].epsilon
    assert not results[2].failed


def test_a_ledger_that_was_removed_is_noticed(tmp_path):
    for result in run(ADAPTIVE, tmp_path / "run"):
        if result.round == 4:
            break
    assert load_checkpoint(tmp_path / "run" / "checkpoints", LAYOUT, seed=0).private["releases"] == 4
    (tmp_path / "run" / "privacy.jsonl").unlink()
    with pytest.raises(LedgerError, match=r"holds 0 releases, and 4 were made.*Restore it"):
        list(run(ADAPTIVE, tmp_path / "run"))


def test_a_model_with_values_that_would_be_averaged_without_noise_is_refused():
    layout = Layout(LAYOUT.parameters, (Tensor("running_mean", (3,)),))
    model = Model(MeanTrainer().initial(0).parameters, np.zeros(3, np.float32))
    state, grid = begin(ADAPTIVE, model, layout), InProcessGrid(ClientApp(), 1)
    with pytest.raises(ValueError, match=r"3 values that are not trained.*GroupNorm"):
        next(rounds(grid, ADAPTIVE, state, layout, num_rounds=1))


def private(**parts) -> Strategy:
    given = {"sampling": poisson(2, population=10), "budget": Budget(1e-3)}
    pipeline = parse_pipeline(parts.pop("pipeline", "chain(clip(1.0), gaussian_noise(1.0))"))
    return Strategy(**{**given, "pipeline": pipeline, **parts})


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"pipeline": "gaussian_noise(1.0)"}, r"noise but no clip.*put clip\(...\) first"),
        ({"pipeline": "chain(weight_by_examples(), gaussian_noise(1.0))"}, "no clip"),
        (
            {"pipeline": "chain(clip(1.0), gaussian_noise(1.0))", "sampling": uniform(3)},
            r"accounting does not hold for uniform\(3\).*use poisson",
        ),
        ({"quorum": 0.9}, "a quorum would reveal how many clients took part; leave it out"),
        ({"budget": None}, r"no delta is given: give budget=Budget"),
        (
            {"aggregate": Aggregate("median()", FixedPointMean, linear=False)},
            r"median\(\) is not one; use mean",
        ),
        (
            {
                "pipeline": "chain(clip(1.0), skellam_noise(4.0, 1.0, 0.0078125, 9))",
                "sampling": cyclic(9, population=9),
            },
            r"adds integer noise to values that are not integers; put randomized_round",
        ),
        (
            {
                "pipeline": "chain(clip(1.0), top_k(0.1), randomized_round(0.0078125, 1.0),"
                " distributed_noise(4.0, 1.0, 0.0078125, 9))",
                "sampling": cyclic(9, population=9),
            },
            r"reveals without noise which values a client chose to send",
        ),
        ({"pipeline": "clip(1.0)"}, r"clip\(1.0\) adds no noise; use dp_fedavg"),
        ({"pipeline": "adaptive_clip(1.0)", "budget": None}, "norms without noise; add gaussian_noise"),
    ],
)
def test_a_strategy_whose_ledger_would_be_untrue_is_refused_with_a_remedy(parts, says):
    assert private().private
    with pytest.raises(ValueError, match=says):
        private(**parts)


def test_weights_are_refused_by_the_preset_and_by_the_chain():
    with pytest.raises(ValueError, match="weighted is True: a weight scales a clipped update past its bound"):
        dp_fedavg(weighted=True)
    with pytest.raises(ValueError, match=r"under differential privacy.*remove the weighting"):
        parse_pipeline("chain(clip(1.0), weight_by_examples(), gaussian_noise(1.0))")
    with pytest.raises(ValueError, match="a residual affects rounds"):
        dp_fedavg(pipeline=parse_pipeline("error_feedback(top_k(0.1))"))


def test_without_dp_accounting_the_error_names_the_command():
    code = (
        "import sys; sys.modules['dp_accounting'] = None\n"
        "from hedgerow.privacy.accounting import epsilon\n"
        "from hedgerow.privacy.events import Gaussian\n"
        "epsilon([Gaussian(1.0)], 1e-5)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert 'pip install "hedgerow[privacy]"' in done.stderr


def test_what_a_client_sends_beyond_the_clip_counts_no_more():
    """A client that does not clip moves the model by the clip norm over the expected cohort, as all do."""

    class Lying(MeanTrainer):
        def fit(self, model, data, local, *, seed, round, client):
            fit = super().fit(model, data, local, seed=seed, round=round, client=client)
            return replace(fit, delta=fit.delta * np.float32(1e6)) if client == "client-000" else fit

    strategy = private(sampling=poisson(12, population=12), pipeline="chain(clip(0.5), gaussian_noise(1.0))")
    unclipped = replace(strategy, pipeline=replace(strategy.pipeline, encode=lambda p, s, c: (p, {})))
    honest, lying = (
        next(run(unclipped, count=1, trainer=trainer)).state.model.parameters
        for trainer in (MeanTrainer(), Lying())
    )
    assert np.linalg.norm(honest - lying) <= 2 * 0.5 / 12 * (1 + 1e-5)
    assert honest.shape == (DIMENSION,)
