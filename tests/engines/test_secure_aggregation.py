"""With masks and without them, with one worker and with several: the same bits."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from hedgerow.client.app import client_app
from hedgerow.client.secure.enrolment import SimulatedEnrolments
from hedgerow.experiments.cli import main as cli
from hedgerow.experiments.runs.simulate import simulate
from hedgerow.experiments.runs.store import RunFolder
from hedgerow.server.rounds import begin, rounds
from hedgerow.simulation.grid import InProcessGrid
from hedgerow.strategies import fedavg, parse_pipeline, secure_fedavg, uniform
from hedgerow.types import Fit, Layout, Model, Tensor
from tests.support import DIMENSION, Clients, MeanTrainer, clients

PIPELINES = {
    "weighted": "chain(weight_by_examples(30), clip(5.0), quantize(8, range=1.0), mask())",
    "random_k at 4 bits": "chain(clip(5.0), random_k(0.5), quantize(4, range=2.0), mask())",
    "feedback": "chain(error_feedback(quantize(3, rounding='nearest', range=1.0)), mask())",
}


class BufferedTrainer(MeanTrainer):
    """Has buffers too, as a model with BatchNorm."""

    def initial(self, seed):
        return Model(super().initial(seed).parameters, np.zeros(3, np.float32))

    def fit(self, model, data, local, *, seed, round, client):
        fit = super().fit(model, data, local, seed=seed, round=round, client=client)
        return Fit(fit.delta, data.x.mean(0)[:3].astype(np.float32), fit.num_examples, fit.metrics)


def run(pipeline: str, trainer=None, data=None, **options):
    strategy = fedavg(pipeline=parse_pipeline(pipeline), sampling=uniform(11), weighted=False)
    return list(simulate(trainer or MeanTrainer(), data or clients(12), strategy, rounds=2, **options))


def facts(result) -> tuple:
    model = result.state.model
    return (
        model.parameters.tobytes(),
        model.buffers.tobytes(),
        dict(result.metrics),
        dict(result.dropped),
        result.failed,
    )


@pytest.mark.parametrize("pipeline", PIPELINES.values(), ids=PIPELINES)
def test_with_masks_and_without_them_the_model_is_the_same_bit_for_bit(pipeline):
    plain = run(pipeline)
    assert [r.secure for r in plain] == ["unmasked"] * 2
    assert plain[0].state.model.parameters.any()
    for options in ({"masks": True}, {"masks": True, "workers": 2}, {"masks": False, "workers": 2}):
        other = run(pipeline, **options)
        assert [facts(r) for r in other] == [facts(r) for r in plain]
        assert {r.secure for r in other} == {"masked" if options["masks"] else "unmasked"}


def test_buffers_and_metrics_are_summed_under_the_mask():
    data = clients(12)
    trainer = BufferedTrainer(Layout((Tensor("a", (DIMENSION,)),), (Tensor("running_mean", (3,)),)))
    plain, masked = (run(PIPELINES["weighted"], trainer, data, masks=masks) for masks in (False, True))
    assert [facts(r) for r in masked] == [facts(r) for r in plain]
    cohort = [data.samples(name) for name in masked[0].cohort]
    weights = [min(30, len(s)) for s in cohort]
    expected = np.average([s.x.mean(0)[:3] for s in cohort], axis=0, weights=weights)
    assert np.allclose(masked[0].state.model.buffers, expected, atol=1e-5)
    first = MeanTrainer().initial(0)
    losses = [MeanTrainer().evaluate(first, s)["loss"] for s in cohort]
    assert masked[0].metrics["loss"] == pytest.approx(
        np.average(losses, weights=[len(s) for s in cohort]), abs=1e-5
    )


def test_a_masked_sum_is_close_to_the_unprotected_one():
    masked = run(PIPELINES["weighted"].replace("quantize(8", "quantize(12"), masks=True)
    plain = run("chain(weight_by_examples(30), clip(5.0))")
    difference = masked[0].state.model.parameters - plain[0].state.model.parameters
    assert 0 < np.abs(difference).max() < 1 / 2047


class Unwell:
    """A client app in which some clients fail at a stage."""

    def __init__(self, app, stage: str, ill: set[str]) -> None:
        self.app, self.stage, self.ill = app, f"train.{stage}", ill
        self.told: list[str] = []

    def __call__(self, message, context):
        if message.metadata.message_type == "train.failed":
            self.told.append(context.node_config["client-name"])
        if message.metadata.message_type == self.stage and context.node_config["client-name"] in self.ill:
            raise RuntimeError("the battery is empty")
        return self.app(message, context)


def round_with(stage: str, ill: int):
    data, trainer = clients(12), MeanTrainer()
    strategy = fedavg(pipeline=parse_pipeline(PIPELINES["weighted"]), sampling=uniform(12), weighted=False)
    honest = client_app(trainer, data, strategy, enrolment=SimulatedEnrolments(bytes(32)).enrolment)
    unwell = Unwell(honest, stage, set(data.names[:ill]))
    with InProcessGrid(
        unwell, 12, names=data.names, node_config=lambda i: {"client-name": data.names[i]}
    ) as grid:
        state = begin(strategy, trainer.initial(0), trainer.layout)
        (result,) = rounds(grid, strategy, state, trainer.layout, num_rounds=1)
    return result, unwell


@pytest.mark.parametrize("stage", ["keys", "shares", "masked", "survivors", "unmask"])
def test_clients_that_leave_are_named_and_the_round_goes_on(stage):
    result, _ = round_with(stage, 2)
    assert result.failed == ""
    gone = [] if stage in ("survivors", "unmask") else ["client-000", "client-001"]
    assert list(result.dropped) == gone
    assert all(f"{stage}: it failed: RuntimeError: the battery" in why for why in result.dropped.values())
    assert len(result.bytes_up) == (10 if stage == "keys" else 12)


@pytest.mark.parametrize("stage", ["keys", "shares", "masked", "survivors", "unmask"])
def test_with_too_few_left_the_round_fails_the_model_stays_and_clients_are_told(stage):
    result, unwell = round_with(stage, 6)
    assert "secure aggregation failed: TooFew" in result.failed
    assert (result.state.model.parameters == MeanTrainer().initial(0).parameters).all()
    assert len(unwell.told) == 6


def test_a_cohort_that_is_too_small_is_refused_and_the_run_goes_on():
    strategy = secure_fedavg(sampling=uniform(9))
    for masks in (False, True):
        results = list(simulate(MeanTrainer(), clients(9), strategy, rounds=2, masks=masks))
        assert [r.failed for r in results] == [
            "secure aggregation needs a cohort of 10; 9 clients are available"
        ] * 2


class Ill(MeanTrainer):
    """Half of the clients cannot train."""

    def fit(self, model, data, local, *, seed, round, client):
        if int(client[-3:]) < 6:
            raise RuntimeError("the battery is empty")
        return super().fit(model, data, local, seed=seed, round=round, client=client)


def test_without_masks_a_round_fails_where_it_would_fail_with_them():
    strategy = fedavg(pipeline=parse_pipeline(PIPELINES["weighted"]), sampling=uniform(12), weighted=False)
    data = clients(12)
    named = Clients({f"client-{i:03d}": data.samples(name) for i, name in enumerate(data.names)})
    plain, masked = (next(simulate(Ill(), named, strategy, rounds=1, masks=masks)) for masks in (False, True))
    assert plain.failed == masked.failed
    assert "TooFewSurvivors: 6 of 12 clients have sent masked vectors; 8 are needed" in plain.failed
    assert plain.metrics == masked.metrics == {}
    assert list(plain.dropped) == list(masked.dropped) == [f"client-{i:03d}" for i in range(6)]
    assert all(plain.bytes_down.values())


def test_the_command_line_says_which_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    secure = ["name=secure_fedavg", "min_clients=3", "dropout=0.0"]
    small = ["rounds=1", *(f"strategy.{choice}" for choice in secure)]
    for masks in ([], ["--masks"]):
        done = CliRunner().invoke(
            cli.app, ["run", "heart", *small, "--out", "".join(["run", *masks]), *masks]
        )
        assert done.exit_code == 0, done.output
    (plain,), (masked,) = (
        [x for x in RunFolder(Path(n)).rounds() if x["round"]] for n in ("run", "run--masks")
    )
    assert (plain.pop("secure"), masked.pop("secure")) == ("unmasked", "masked")
    assert plain["evaluation"] == masked["evaluation"]
    assert Path("run/model.safetensors").read_bytes() == Path("run--masks/model.safetensors").read_bytes()


def test_a_run_with_masks_goes_on_where_it_was(tmp_path):
    whole = run(PIPELINES["feedback"], masks=True)
    strategy = fedavg(pipeline=parse_pipeline(PIPELINES["feedback"]), sampling=uniform(11), weighted=False)
    for number in (1, 2):
        (result,) = simulate(
            MeanTrainer(), clients(12), strategy, rounds=number, folder=tmp_path, masks=number == 2
        )
    assert facts(result) == facts(whole[1])
