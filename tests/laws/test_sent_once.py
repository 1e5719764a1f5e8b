"""What no client trains is sent to each device once: to whoever has it, its hash alone."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from flwr.app import Context, Message, RecordDict
from safetensors.numpy import load, save_file
from safetensors.torch import load_file as load_torch
from torch import nn

import hedgerow as hr
from hedgerow.client.app import client_app
from hedgerow.client.constants import InFolder, InNotes
from hedgerow.client.flower import ContextNotes
from hedgerow.client.guard import Guard
from hedgerow.client.policy import Policy
from hedgerow.client.task import Task
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.sealed import unsealed
from hedgerow.server.checkpoint import load_checkpoint, save_checkpoint
from hedgerow.server.evaluation import EvaluationPlan
from hedgerow.strategies import parse_pipeline
from hedgerow.strategies.transforms.mask import model_hash
from hedgerow.types import Layout, LocalTraining, Model, Samples, ServerState, Tensor, hash_constants
from tests.devices_grid import PlainGrid

IN, HIDDEN = 1000, 1000


class Heavy(nn.Module):
    """1,001,000 frozen values, and 2,002 that are trained."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(IN, HIDDEN).requires_grad_(False), nn.Linear(HIDDEN, 2)

    def forward(self, x):
        return self.head(self.body(x).relu())


def samples(number: int) -> Samples:
    rng = np.random.default_rng(number)
    return Samples(rng.normal(size=(8, IN)).astype(np.float32), rng.integers(2, size=8))


DATA = hr.from_function(4, samples)
LOCAL = LocalTraining(learning_rate=0.1, batch_size=8)
WHOLE = 4 * 1_001_000
TRAINER = TorchTrainer(Task(Heavy))


def strategy(pipeline: str = "float32()", clients: int = 2) -> hr.Strategy:
    return hr.fedavg(pipeline=parse_pipeline(pipeline), sampling=hr.uniform(clients), local=LOCAL)


def simulated(rounds: int = 4, pipeline: str = "float32()", **options):
    return list(hr.simulate(TRAINER, DATA, strategy(pipeline), rounds=rounds, seed=1, **options))


def check_ledger(results, up: int, down: int) -> None:
    """Each client is sent the frozen part in its first round, and never again."""
    seen: set[str] = set()
    for result in results:
        assert not result.dropped
        for name in result.cohort:
            assert result.bytes_up[name] == pytest.approx(up, abs=600)
            expected = down if name in seen else 2 * down + WHOLE
            assert result.bytes_down[name] == pytest.approx(expected, abs=1200)
        seen |= set(result.cohort)
    assert any(name in r.cohort for r in results[:1] for later in results[1:] for name in later.cohort)


@pytest.mark.parametrize(("pipeline", "up"), [("float32()", 8008), ("quantize(8)", 2002)])
def test_a_frozen_million_costs_nothing_in_any_round_but_a_clients_first(pipeline, up):
    check_ledger(simulated(pipeline=pipeline), up, 8008)


def test_neither_workers_nor_a_resumed_run_nor_the_batched_trainer_change_the_ledger(tmp_path):
    def ledger(results):
        return [(r.bytes_up, r.bytes_down) for r in results]

    once = simulated()
    assert ledger(simulated(workers=2)) == ledger(once)
    simulated(rounds=2, folder=tmp_path)
    rest = simulated(folder=tmp_path)
    assert ledger(rest) == ledger(once)[2:]
    assert rest[-1].state.model.parameters.tobytes() == once[-1].state.model.parameters.tobytes()
    batched = hr.simulate(Task(Heavy), DATA, strategy(), rounds=4, seed=1, trainer="batch")
    assert ledger(batched) == ledger(once)


def served(app: Callable[..., Message], rounds: int = 4, state=None, grid=None, given=None):
    grid = grid or PlainGrid(app, DATA.names)
    given = given or strategy()
    with grid:
        state = state or hr.begin(given, TRAINER.initial(1), TRAINER.layout)
        return list(hr.rounds(grid, given, state, TRAINER.layout, num_rounds=rounds, seed=1)), grid


def test_devices_that_are_asked_one_by_one_have_the_ledger_and_the_model_of_a_simulation():
    results, _ = served(client_app(TRAINER, DATA, strategy()))
    check_ledger(results, 8008, 8008)
    expected = simulated()
    assert [r.bytes_down for r in results] == [r.bytes_down for r in expected]
    model = results[-1].state.model
    assert model.parameters.tobytes() == expected[-1].state.model.parameters.tobytes()


def test_a_device_that_lost_its_state_is_sent_them_again_in_the_same_round():
    app = client_app(TRAINER, DATA, strategy())
    before, grid = served(app, rounds=3)
    grid.forget()
    after, _ = served(app, rounds=4, state=before[-1].state, grid=grid)
    assert not after[0].dropped
    assert min(after[0].bytes_down.values()) > WHOLE
    assert after[0].state.model.parameters.tobytes() == simulated()[-1].state.model.parameters.tobytes()


@pytest.mark.parametrize("device", ["states", "guard"])
def test_a_device_with_a_folder_keeps_them_over_its_restarts_and_other_runs(tmp_path, device):
    for number in range(4):
        (tmp_path / str(number)).mkdir()

    def app():
        guard = {"guard": lambda config: Guard(Policy.unenrolled(), tmp_path / str(config["partition-id"]))}
        where = {"state_folder": tmp_path} if device == "states" else guard
        return client_app(TRAINER, DATA, strategy(clients=4), **where)

    def first_round():
        (result,), _ = served(app(), rounds=1, given=strategy(clients=4))
        assert not result.dropped
        return result.bytes_down.values()

    assert min(first_round()) > WHOLE
    assert max(first_round()) < 9000
    for file in tmp_path.rglob("*.safetensors"):
        if file.stat().st_size > WHOLE:
            file.write_bytes(file.read_bytes()[:-1] + b"?")
    assert min(first_round()) > WHOLE
    assert max(first_round()) < 9000


def test_clients_that_measure_the_model_are_sent_them_once_too():
    data, plan = hr.datasets.HeldOut(DATA, 0.3), EvaluationPlan()
    given = strategy(clients=4)
    grid = PlainGrid(client_app(TRAINER, data, given), data.names)
    with grid:
        state = hr.begin(given, TRAINER.initial(1), TRAINER.layout)
        served = list(
            hr.rounds(grid, given, state, TRAINER.layout, num_rounds=2, seed=1, client_evaluation=plan)
        )
    options = {"rounds": 2, "seed": 1, "client_evaluation": plan}
    for results in (served, list(hr.simulate(TRAINER, data, given, **options))):
        for result in results:
            found = result.client_evaluation
            assert found.clients.keys() == set(data.names)
            assert max(found.bytes_down.values()) < 9000


@pytest.mark.parametrize("kind", ["context", "folder"])
def test_a_device_keeps_the_last_two_models_constants_bit_for_bit(tmp_path, kind):
    context = Context(run_id=0, node_id=0, node_config={}, state=RecordDict(), run_config={})
    parts = [np.array([np.nan, -0.0, -np.inf, k], np.float32) for k in range(4)]
    hashes = [hash_constants(part) for part in parts]
    for part, name in zip([*parts, parts[2]], [*hashes, hashes[2]], strict=True):
        kept = InNotes(ContextNotes(context)) if kind == "context" else InFolder(tmp_path / "a")
        kept.save(name, part)
    found = [kept.load(name) for name in hashes]
    assert found[:2] == [None, None]
    assert [f.tobytes() for f in found[2:]] == [part.tobytes() for part in parts[2:]]


def test_a_server_that_names_a_path_or_sends_other_constants_is_refused(tmp_path):
    from hedgerow.client.constants import completed
    from hedgerow.types import PayloadError
    from hedgerow.wire.messages import TrainRequest

    layout = Layout((Tensor("a", (1,)),), (), (Tensor("c", (2,)),))
    values = np.ones(2, np.float32)
    model, one = Model(np.zeros(1, np.float32)), np.ones(1, np.float32)

    def request(named, constants):
        return TrainRequest(replace(model, constants=constants), 1, 0, {}, {}, 0, named)

    with pytest.raises(PayloadError, match="64 hex digits"):
        completed(request("../../../etc/x", one[:0]), layout, InFolder(tmp_path))
    with pytest.raises(PayloadError, match="do not have the hash"):
        completed(request(hash_constants(one), values), layout, InFolder(tmp_path))
    assert not list(tmp_path.iterdir())


def test_under_a_mask_they_are_sent_once_too_and_all_agree_on_them(tmp_path):
    pipeline = "chain(weight_by_examples(30), clip(5.0), quantize(8, range=1.0), mask())"
    given, data = strategy(pipeline, clients=10), hr.from_function(10, samples)
    model = TRAINER.initial(1)
    other = replace(model, constants=model.constants + 1)
    hashes = {model_hash(m, TRAINER.layout, 1, 1) for m in (model, other)}
    assert len(hashes) == 2

    def run(**options):
        return list(hr.simulate(TRAINER, data, given, rounds=2, seed=1, **options))

    whole, plain = run(masks=True, workers=2), run()
    assert [(r.dropped, r.failed) for r in whole] == [({}, "")] * 2
    assert min(whole[0].bytes_down.values()) > WHOLE
    assert max(whole[1].bytes_down.values()) < 25_000
    assert min(plain[0].bytes_down.values()) > WHOLE
    assert max(plain[1].bytes_down.values()) < 9_000
    assert whole[-1].state.model.parameters.tobytes() == plain[-1].state.model.parameters.tobytes()


def test_checkpoints_have_them_once_and_the_model_has_all(tmp_path):
    simulated(rounds=3, folder=tmp_path)
    sizes = sorted(p.stat().st_size for p in (tmp_path / "checkpoints").iterdir())
    assert len(sizes) == 3
    assert sizes[1] < 10_000
    assert sizes[2] > WHOLE
    module = Heavy()
    module.load_state_dict(load_torch(tmp_path / "model.safetensors"), strict=True)
    expected = TRAINER.initial(1).constants
    assert torch.equal(module.body.weight.flatten(), torch.from_numpy(expected[: IN * HIDDEN].copy()))


def test_a_checkpoint_that_holds_them_itself_is_read(tmp_path):
    layout = Layout((Tensor("a", (1,)),), (), (Tensor("c", (2,)),))
    model = Model(np.ones(1, np.float32), constants=np.array([np.nan, 2], np.float32))
    path = save_checkpoint(tmp_path, ServerState(3, model, holding=frozenset("ab")), layout, seed=0)
    found = load_checkpoint(tmp_path, layout, seed=0)
    assert found is not None
    assert found.model.constants.tobytes() == model.constants.tobytes()
    assert found.holding == {"a", "b"}
    arrays = {**load(unsealed(path.read_bytes())), "constants": model.constants}
    header = f'{{"round": 3, "seed": 0, "layout": "{layout.fingerprint}"}}'
    save_file(arrays, path, {"hedgerow": header})
    for file in tmp_path.glob("constants-*"):
        file.unlink()
    found = load_checkpoint(tmp_path, layout, seed=0)
    assert found is not None
    assert found.model.constants.tobytes() == model.constants.tobytes()
    assert found.holding == frozenset()
