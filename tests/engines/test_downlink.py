"""One run with a downlink: the same model and the same bytes, wherever the clients are."""

import numpy as np
import pytest
from torch import nn

import hedgerow as hr
from hedgerow.client.app import client_app
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.datasets.held_out import HeldOut
from hedgerow.server.broadcast import Broadcasts
from hedgerow.server.evaluation import EvaluationPlan
from hedgerow.server.fingerprint import AnotherRun
from hedgerow.server.recording import FOLDER, Recorder
from hedgerow.server.replay import replay
from hedgerow.strategies import parse_pipeline
from hedgerow.types import LocalTraining, Model, Samples
from tests.devices_grid import PlainGrid

DOWNLINKS = ("eden(4)", "error_feedback(top_k(0.05), quantize(8))")
ROUNDS, CLIENTS, SEED = 5, 6, 3


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(20, 60), nn.ReLU(), nn.BatchNorm1d(60), nn.Linear(60, 2))


def samples(number: int) -> Samples:
    rng = np.random.default_rng(number)
    x = rng.normal(size=(16, 20)).astype(np.float32)
    return Samples(x, (x[:, 0] > 0).astype(np.int64))


DATA = HeldOut(hr.from_function(CLIENTS, samples), 0.25)
TASK = hr.Task(model=net)
TRAINER = TorchTrainer(TASK)
LOCAL = LocalTraining(learning_rate=0.1, batch_size=8)
PLAN = EvaluationPlan(0.5, every=2)


def strategy(downlink: str, **parts) -> hr.Strategy:
    given = {"sampling": hr.uniform(2), "local": LOCAL, **parts}
    return hr.scaffold(downlink=parse_pipeline(downlink), **given)


def simulated(given: hr.Strategy, task=TRAINER, rounds: int = ROUNDS, **options):
    options = {"client_evaluation": PLAN, **options}
    return list(hr.simulate(task, DATA, given, rounds=rounds, seed=SEED, **options))


def served(given: hr.Strategy, start: Model | None = None, **where):
    """Devices that are asked one by one, and keep what they need themselves."""
    with PlainGrid(client_app(TRAINER, DATA, given, **where), DATA.names) as grid:
        state = hr.begin(given, start or TRAINER.initial(SEED), TRAINER.layout)
        found = list(
            hr.rounds(
                grid, given, state, TRAINER.layout, num_rounds=ROUNDS, seed=SEED, client_evaluation=PLAN
            )
        )
    return found, grid


def alike(found, expected, *, bits: bool = True) -> None:
    for one, other in zip(found, expected, strict=True):
        assert not one.dropped | other.dropped
        assert not one.failed + other.failed
        assert one.bytes_down == other.bytes_down
        assert one.bytes_up == other.bytes_up
        measured = [each.client_evaluation and each.client_evaluation.bytes_down for each in (one, other)]
        assert measured[0] == measured[1]
        models = [each.state.model.parameters for each in (one, other)]
        # Two trainers agree to 1e-5, and what is between them may be rounded to another level.
        assert models[0].tobytes() == models[1].tobytes() or not bits


@pytest.mark.parametrize("downlink", DOWNLINKS)
def test_processes_and_devices_that_are_asked_one_by_one_give_the_same_model_and_ledger(downlink, tmp_path):
    given = strategy(downlink)
    expected = simulated(given)
    alike(simulated(given, workers=2), expected)
    devices, grid = served(given)
    alike(devices, expected)
    assert sum(len(data) for way, data in grid.wire if way == "down") >= sum(
        sum(result.bytes_down.values()) for result in devices
    )
    alike(served(given, state_folder=tmp_path)[0], expected)
    alike(simulated(given, TASK, trainer="batch"), expected, bits=False)
    plain = simulated(strategy("float32()"))
    late = [max(result.bytes_down.values()) for result in (expected[-1], plain[-1])]
    assert late[0] < late[1] - 3 * TRAINER.layout.dimension  # the control variates are sent as they are


@pytest.mark.parametrize("downlink", DOWNLINKS)
def test_a_model_that_no_seed_makes_is_sent_once_to_each_device(downlink):
    given, start = strategy(downlink), TRAINER.initial(SEED + 1)
    expected, (devices, _) = simulated(given, initial=start), served(given, start)
    alike(devices, expected)
    whole, seen = 4 * TRAINER.layout.dimension, set()
    for result in expected:
        for name in set(result.cohort) - seen:
            assert result.bytes_down[name] > 2 * whole  # the model or its base, and the control variates
        seen |= set(result.cohort)
        if result.client_evaluation is not None:
            seen |= set(result.client_evaluation.clients)


@pytest.mark.parametrize("downlink", DOWNLINKS)
def test_a_run_that_goes_on_ends_with_the_same_model_and_a_recorded_one_is_replayed(downlink, tmp_path):
    given = strategy(downlink)
    expected = simulated(given)
    simulated(given, rounds=2, folder=tmp_path, record=True)
    alike(simulated(given, folder=tmp_path, record=True), expected[2:])
    *_, last = replay(Recorder(tmp_path / FOLDER, TRAINER.layout, SEED), given)
    assert last.model.parameters.tobytes() == expected[-1].state.model.parameters.tobytes()
    with pytest.raises(AnotherRun, match=r"the downlink was .*, is now float32\(\)"):
        simulated(strategy("float32()"), folder=tmp_path, record=True)
    grid = PlainGrid(client_app(TRAINER, DATA, given), DATA.names)
    with pytest.raises(ValueError, match="this state holds base of the downlink, but scaffold keeps nothing"):
        next(hr.rounds(grid, strategy("float32()"), expected[0].state, TRAINER.layout, num_rounds=2))


def test_clients_train_and_measure_what_they_decode_and_the_server_moves_and_measures_its_own():
    seen: list[tuple[str, bytes]] = []

    class Watched(TorchTrainer):
        def fit(self, model, *given, **options):
            seen.append(("fit", model.parameters.tobytes()))
            return super().fit(model, *given, **options)

        def evaluate(self, model, data):
            seen.append(("evaluate", model.parameters.tobytes()))
            return super().evaluate(model, data)

    given = hr.fedavg(downlink=parse_pipeline("eden(2)"), sampling=hr.uniform(2), local=LOCAL)
    test, trainer = samples(9), Watched(TASK)
    state = hr.begin(given, trainer.initial(SEED), trainer.layout)
    broadcasts = Broadcasts(given.downlink)
    results = hr.simulate(
        trainer, DATA, given, rounds=3, seed=SEED, client_evaluation=EvaluationPlan(), test=test
    )
    for result in results:
        sent = broadcasts.of(state, trainer.layout, SEED).parameters
        after = broadcasts.of(result.state, trainer.layout, SEED).parameters
        fits = {data for kind, data in seen if kind == "fit"}
        measured = {data for kind, data in seen if kind == "evaluate"}
        assert fits == {sent.tobytes()}
        assert measured == {after.tobytes(), result.state.model.parameters.tobytes()}
        seen.clear()
        state = result.state


def test_under_a_mask_all_agree_on_what_they_decode_and_the_sum_is_the_same_without_masks():
    pipeline = parse_pipeline(
        "chain(weight_by_examples(30), clip(5.0), quantize(8, range=1.0), mask(min_clients=4))"
    )
    for downlink in DOWNLINKS:
        given = hr.fedavg(
            pipeline=pipeline, downlink=parse_pipeline(downlink), sampling=hr.uniform(5), local=LOCAL,
            weighted=False,
        )  # fmt: skip
        plain = simulated(given, client_evaluation=None)
        masked = simulated(given, client_evaluation=None, masks=True)
        assert [result.secure for result in masked] == ["masked"] * ROUNDS
        for one, other in zip(plain, masked, strict=True):
            assert not one.failed + other.failed
            assert one.state.model.parameters.tobytes() == other.state.model.parameters.tobytes()
            assert one.state.held == other.state.held


def test_a_private_run_spends_what_it_spends_and_layers_of_its_own_stay_on_each_device():
    def private(downlink: str) -> hr.Strategy:
        sampling = hr.cyclic(3, population=CLIENTS)
        return hr.dp_ftrl(
            0.5, 2.0, bands=2, horizon=4, downlink=parse_pipeline(downlink), sampling=sampling, local=LOCAL
        )

    group = TorchTrainer(hr.Task(model=lambda: nn.Sequential(nn.Linear(20, 60), nn.ReLU(), nn.Linear(60, 2))))
    spent = [simulated(private(each), group, 2, client_evaluation=None) for each in ("float32()", "eden(4)")]
    assert [r.epsilon for r in spent[0]] == [r.epsilon for r in spent[1]]
    assert [r.cohort for r in spent[0]] == [r.cohort for r in spent[1]]
    for downlink in DOWNLINKS:
        own = hr.fedper(
            personal="last(1)", downlink=parse_pipeline(downlink), sampling=hr.uniform(2), local=LOCAL
        )
        devices, _ = served(own)
        alike(devices, simulated(own))
        last = devices[-1].state
        assert last.downlink["base"].shape == last.model.parameters.shape == (20 * 60 + 60 + 120,)
