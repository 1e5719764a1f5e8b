"""Personal layers stay where they are: never on the wire, kept over restarts, and each client's own."""

import logging

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import hedgerow as hr
from hedgerow.client.app import client_app
from hedgerow.client.personal import LAYERS, PersonalLayers, personal_model
from hedgerow.client.policy import strategy_hash
from hedgerow.client.state import FolderState
from hedgerow.client.task import Task
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.recipe.strategy import build, describe
from hedgerow.server.recording import Recorder
from hedgerow.server.replay import replay
from hedgerow.strategies import parse_pipeline
from hedgerow.types import Layout, LocalTraining, Model, Samples, Tensor
from hedgerow.types.split import split_of
from tests.devices_grid import PlainGrid
from tests.support import LAYOUT, MeanTrainer, clients

WIDTH = 6
LOCAL = LocalTraining(learning_rate=0.1, batch_size=8, epochs=2)


class Net(nn.Module):
    """A body with two norms, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(WIDTH, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 8))
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.norm(self.body(x)))


def samples(number: int) -> Samples:
    rng = np.random.default_rng(number)
    n = 9 + 5 * (number % 3)
    return Samples(rng.normal(number, 1, size=(n, WIDTH)).astype(np.float32), rng.integers(3, size=n))


DATA = hr.from_function(6, samples)
TRAINER = TorchTrainer(Task(Net))
HEAD = ("head.bias", "head.weight")
NORMS = (
    "body.1.bias",
    "body.1.running_mean",
    "body.1.running_var",
    "body.1.weight",
    "norm.bias",
    "norm.weight",
)


def per(**parts) -> hr.Strategy:
    return hr.fedper(**{"sampling": hr.uniform(4), "local": LOCAL, **parts})


def bn(**parts) -> hr.Strategy:
    return hr.fedbn(**{"sampling": hr.uniform(4), "local": LOCAL, **parts})


def run(strategy, rounds=3, task=TRAINER, **options):
    return list(hr.simulate(task, DATA, strategy, rounds=rounds, seed=3, **options))


def own_of(folder, strategy, results, client):
    """A client's full model after a run in a folder."""
    layers = PersonalLayers(TRAINER, strategy)
    store = FolderState(folder / "clients", client)
    state = results[-1].state
    return personal_model(layers, store, state.model, seed=3, round=state.round + 1)


@pytest.mark.parametrize(
    ("strategy", "names"),
    [
        (per(), HEAD),
        (per(personal=("head.",)), HEAD),
        (per(layers=2), (*HEAD, "norm.bias", "norm.weight")),
        (bn(), NORMS),
        (bn(personal="head."), (*HEAD, *NORMS)),
        (
            hr.fedavg(personal=("*.1.running", "head.b")),
            ("body.1.running_mean", "body.1.running_var", "head.bias"),
        ),
        (hr.scaffold(personal="last(1)"), HEAD),
    ],
    ids=lambda v: v.name + str(v.personal) if isinstance(v, hr.Strategy) else "",
)
def test_what_is_personal_is_named_and_all_else_travels(strategy, names):
    split = strategy.split(TRAINER.layout)
    own, shared = split.own, split.shared
    assert sorted(t.name for t in (*own.parameters, *own.buffers)) == sorted(names)
    assert own.dimension + shared.dimension == TRAINER.layout.dimension
    assert own.buffer_size + shared.buffer_size == TRAINER.layout.buffer_size
    assert shared.fingerprint != TRAINER.layout.fingerprint


def test_the_parts_of_a_model_and_of_a_fit_make_the_whole_again():
    model = TRAINER.initial(0)
    split = bn().split(TRAINER.layout)
    shared, own = split.shared_part(model), split.own_part(model)
    whole = split.join(shared, own)
    for name in ("parameters", "buffers", "constants"):
        assert getattr(whole, name).tobytes() == getattr(model, name).tobytes()
    fit = TRAINER.fit(model, samples(0), LOCAL, seed=0, round=1, client="a")
    after = split.own_after(own, fit)
    moved = Model(shared.parameters + split.shared_fit(fit).delta, split.shared_fit(fit).buffers)
    joined = split.join(moved, after)
    assert joined.parameters.tobytes() == (model.parameters + fit.delta).tobytes()
    assert joined.buffers.tobytes() == fit.buffers.tobytes()
    nobody = split_of(TRAINER.layout, ())
    assert nobody.shared_part(model).parameters is model.parameters
    assert nobody.shared == TRAINER.layout


def test_what_makes_no_sense_is_refused_by_name():
    for personal, message in (
        (("head.", "tail."), r"'tail\.', which fits nothing: the model has 'body.0.weight'.*'head.bias'"),
        (("body.", "head.", "norm."), r"all that the model trains: nothing would be learned together"),
        (("last(9)",), "all that the model trains"),
        (("last(0)",), "fits nothing"),
    ):
        with pytest.raises(ValueError, match=message):
            list(hr.simulate(TRAINER, DATA, per(personal=personal), rounds=1))
    with pytest.raises(ValueError, match="has no norm layer"):
        hr.begin(bn(), Model(np.zeros(40, np.float32)), LAYOUT)
    for personal in ((3,), ("",), 7):
        with pytest.raises(ValueError, match=r"personal is .* it must be texts"):
            per(personal=personal)
    with pytest.raises(ValueError, match="layers is 0"):
        hr.fedper(layers=0)
    with pytest.raises(ValueError, match="layers is 2, and personal"):
        hr.fedper(layers=2, personal="head.")
    assert Layout((Tensor("normal.weight", (1,)), Tensor("b", (1,)))).norms == ()


def test_a_run_is_fedper_as_done_by_hand():
    strategy = per(sampling=hr.uniform(3), weighted=False)
    split = strategy.split(TRAINER.layout)
    start = TRAINER.initial(3)
    model, own = split.shared_part(start), dict.fromkeys(DATA.names, split.own_part(start))
    for result in run(strategy):
        deltas, buffers = [], []
        for name in result.cohort:
            whole = split.join(model, own[name])
            fit = TRAINER.fit(whole, DATA.samples(name), LOCAL, seed=3, round=result.round, client=name)
            own[name] = split.own_after(own[name], fit)
            deltas.append(split.shared_fit(fit).delta)
            buffers.append(split.shared_fit(fit).buffers)
        moved = model.parameters + np.mean(deltas, 0, np.float64)
        model = result.state.model
        np.testing.assert_allclose(model.parameters, moved, atol=1e-6)
        np.testing.assert_allclose(model.buffers, np.mean(buffers, 0, np.float64), atol=1e-5)


FEEDBACK = per(pipeline=parse_pipeline("error_feedback(top_k(0.5))"))


@pytest.mark.parametrize("strategy", [per(), bn(), FEEDBACK], ids=["fedper", "fedbn", "feedback"])
def test_workers_kills_and_restarts_show_in_no_bit(strategy, tmp_path):
    whole = run(strategy, rounds=4, folder=tmp_path / "whole")
    assert not any(r.dropped or r.failed for r in whole)
    memory = run(strategy, rounds=4, workers=2)
    run(strategy, rounds=2, folder=tmp_path / "parts", workers=2)
    # Killed before it could save: the clients are a round ahead of the server.
    for file in (tmp_path / "parts" / "checkpoints").glob("round-000002*"):
        file.unlink()
    parts = run(strategy, rounds=4, folder=tmp_path / "parts")
    assert [r.round for r in parts] == [2, 3, 4]
    for other in (memory, parts):
        assert other[-1].state.model.parameters.tobytes() == whole[-1].state.model.parameters.tobytes()
    models = [own_of(tmp_path / "whole", strategy, whole, name) for name in DATA.names]
    for name, model in zip(DATA.names, models, strict=True):
        again = own_of(tmp_path / "parts", strategy, parts, name)
        assert again.parameters.tobytes() == model.parameters.tobytes()
        assert again.buffers.tobytes() == model.buffers.tobytes()
    assert len({model.parameters.tobytes() for model in models}) == len(models)


def test_the_saved_model_is_whole_and_what_is_measured_has_the_layers_as_they_began(tmp_path):
    strategy = per()
    results = run(strategy, folder=tmp_path, test=samples(9))
    split, start = strategy.split(TRAINER.layout), TRAINER.initial(3)
    whole = split.join(results[-1].state.model, split.own_part(start))
    assert results[-1].evaluation == TRAINER.evaluate(whole, samples(9))
    module = Net()
    counted = {"body.1.num_batches_tracked": torch.tensor(0)}
    module.load_state_dict({**load_file(tmp_path / "model.safetensors"), **counted}, strict=True)
    head = torch.from_numpy(split.own_part(start).parameters[:24].copy())
    assert torch.equal(module.head.weight.flatten(), head)


MASKED = "chain(weight_by_examples(30), clip(5.0), quantize(8, range=1.0), mask())"


@pytest.mark.parametrize(
    "strategy",
    [per(), bn(), per(pipeline=parse_pipeline("quantize(8)")), hr.scaffold(personal="head.", local=LOCAL)],
    ids=["fedper", "fedbn", "quantized", "scaffold"],
)
def test_no_message_holds_a_personal_value(strategy, tmp_path):
    app = client_app(TRAINER, DATA, strategy, state_folder=tmp_path / "clients")
    with PlainGrid(app, DATA.names) as grid:
        state = hr.begin(strategy, TRAINER.initial(3), TRAINER.layout)
        results = list(hr.rounds(grid, strategy, state, TRAINER.layout, num_rounds=3, seed=3))
    assert not any(r.dropped or r.failed for r in results)
    split = strategy.split(TRAINER.layout)
    secret = [split.own_part(TRAINER.initial(3))]
    for name in DATA.names:
        store = FolderState(tmp_path / "clients", name)
        for number in store.rounds():
            kept = store.load(number + 1)[LAYERS]
            secret.append(Model(kept["parameters"], kept["buffers"]))
    assert len(secret) > 6
    values = {v for m in secret for v in (*m.parameters.tolist(), *m.buffers.tolist())} - {0.0, 1.0}
    needles = {np.float32(v).tobytes() for v in values}
    assert len(grid.wire) >= 2 * 3 * 4
    for way, message in grid.wire:
        sent = {message[k : k + 4] for k in range(len(message) - 3)}
        assert not sent & needles, way
    streams = 2 if strategy.streams else 1
    largest = 4 * (streams * split.shared.dimension + split.shared.buffer_size)
    assert max(len(message) for _, message in grid.wire) < largest + 900
    assert all(len(r.state.model.parameters) == split.shared.dimension for r in results)


def test_under_a_mask_and_with_noise_they_stay_too():
    data = hr.from_function(10, samples)
    masked = hr.fedbn(pipeline=parse_pipeline(MASKED), weighted=False, sampling=hr.uniform(10), local=LOCAL)
    (plain,), (whole,) = (
        list(hr.simulate(TRAINER, data, masked, rounds=1, seed=3, masks=masks)) for masks in (False, True)
    )
    assert not whole.failed
    assert whole.state.model.parameters.tobytes() == plain.state.model.parameters.tobytes()
    private = hr.dp_fedavg(1.0, sampling=hr.poisson(5, population=10), local=LOCAL, personal="norms")
    (result,) = hr.simulate(TRAINER, data, private, rounds=1, seed=3)
    assert not result.dropped
    assert result.epsilon is not None
    assert len(result.state.model.parameters) == private.split(TRAINER.layout).shared.dimension


def test_the_batched_trainer_says_that_it_trains_one_after_another(caplog):
    strategy = bn()
    with caplog.at_level(logging.WARNING, logger="hedgerow"):
        batched = run(strategy, task=Task(Net), trainer="auto")
    assert "one after another: each has personal layers" in caplog.text
    assert batched[-1].state.model.parameters.tobytes() == run(strategy)[-1].state.model.parameters.tobytes()


def test_a_trainer_without_torch_keeps_them_and_one_that_diverges_there_is_dropped():
    strategy = hr.fedavg(personal="b", sampling=hr.uniform(3))
    results = list(hr.simulate(MeanTrainer(), clients(3), strategy, rounds=2, seed=1))
    assert results[-1].state.model.parameters.shape == (20,)
    assert not results[-1].dropped

    class Broken(MeanTrainer):
        def fit(self, *args, **options):
            fit = super().fit(*args, **options)
            fit.delta[30] = np.nan if options["client"] == "client-001" else 0
            return fit

    (result,) = hr.simulate(Broken(), clients(3), strategy, rounds=1, seed=1)
    assert result.dropped.keys() == {"client-001"}
    assert "personal layers infinite or NaN" in result.dropped["client-001"]


def test_clients_measure_the_model_with_their_own_layers(tmp_path):
    data, strategy = hr.datasets.HeldOut(DATA, 0.3), per()
    plan = hr.server.evaluation.EvaluationPlan()
    options = {"rounds": 2, "seed": 3, "folder": tmp_path, "client_evaluation": plan}
    results = list(hr.simulate(TRAINER, data, strategy, **options))
    found = results[-1].client_evaluation
    assert found.clients.keys() == set(data.names)
    assert not found.dropped
    for name, measured in found.clients.items():
        whole = own_of(tmp_path, strategy, results, name)
        assert measured.metrics == TRAINER.evaluate(whole, data.held_out(name))


def test_what_is_recorded_of_a_run_and_what_it_is_described_as_gives_it_again(tmp_path):
    strategy = build(describe(per(layers=2)))
    assert strategy.personal == ("last(2)",)
    for given in (per(personal="head."), bn(personal="head."), bn(), hr.fedavg(personal="norms")):
        assert build(describe(given)).personal == given.personal
    results = run(strategy, folder=tmp_path, record=True)
    shared = strategy.split(TRAINER.layout).shared
    last = list(replay(Recorder(tmp_path / "replies", shared, 3), strategy))[-1]
    assert last.model.parameters.tobytes() == results[-1].state.model.parameters.tobytes()


def test_a_client_whose_layers_are_of_another_model_is_told(tmp_path):
    layers = PersonalLayers(TRAINER, per())
    store = FolderState(tmp_path, "a")
    store.save(1, {LAYERS: {"parameters": np.zeros(3, np.float32), "buffers": np.zeros(0, np.float32)}})
    with pytest.raises(ValueError, match=r"parameters \(3,\).*\(27,\).*delete the client's state"):
        personal_model(layers, store, layers.split.shared_part(TRAINER.initial(0)), seed=0, round=2)


def test_a_policy_knows_strategies_with_personal_layers_apart():
    assert (
        len({strategy_hash(hr.fedavg(personal=p)) for p in ((), "norms", "head.", ("head.", "norms"))}) == 4
    )
