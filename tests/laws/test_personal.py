"""Personal layers stay where they are: never on the wire, kept over restarts, and each client's own."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import hedgerow as hr
from hedgerow.client.app import client_app
from hedgerow.client.guard import Guard
from hedgerow.client.personal import LAYERS, PersonalLayers, personal_model
from hedgerow.client.policy import Policy, strategy_hash
from hedgerow.client.state import FolderState
from hedgerow.client.task import Task
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.recipe.strategy import build, describe
from hedgerow.server.recording import Recorder
from hedgerow.server.replay import replay
from hedgerow.simulation.attacks.adversary import Adversary
from hedgerow.simulation.attacks.sign_flip import sign_flip
from hedgerow.strategies import parse_pipeline
from hedgerow.strategies.personal import split_of
from hedgerow.types import Layout, Model, Tensor
from tests.devices_grid import PlainGrid
from tests.personal_net import DATA, HEAD, LOCAL, NORMS, TRAINER, Net, bn, per, run, samples
from tests.support import LAYOUT, MeanTrainer, clients


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
    assert nobody.shared.fingerprint == TRAINER.layout.fingerprint


def test_what_makes_no_sense_is_refused_by_name():
    for personal, message in (
        (("head.", "tail."), r"'tail\.', which matches nothing: the model trains 'body.0.*'head.bias'"),
        (("body.", "head.", "norm."), r"everything that the model trains: nothing would be shared"),
        (("last(9)",), "everything that the model trains"),
        (("last(0)",), "layers is 0; it must be a whole number of at least 1"),
        (("lst(1)",), r"there is no personal rule 'lst'.* Did you mean 'last'"),
    ):
        with pytest.raises(ValueError, match=message):
            list(hr.simulate(TRAINER, DATA, per(personal=personal), rounds=1))
    with pytest.raises(ValueError, match="trains no norm layer"):
        hr.begin(bn(), Model(np.zeros(40, np.float32)), LAYOUT)
    for personal in ((3,), ("",), 7):
        with pytest.raises(ValueError, match=r"personal is .* it must be strings"):
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


@pytest.mark.parametrize("strategy", [bn(), FEEDBACK], ids=["fedbn", "feedback"])
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
    module.load_state_dict(load_file(tmp_path / "model.safetensors"), strict=True)
    head = torch.from_numpy(split.own_part(start).parameters[:24].copy())
    assert torch.equal(module.head.weight.flatten(), head)


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


@pytest.mark.parametrize("workers", [None, 2])
def test_personal_layers_begin_with_those_of_the_model_that_a_run_starts_from(tmp_path, workers):
    strategy, given = bn(sampling=hr.uniform(6)), TRAINER.initial(77)
    split = strategy.split(TRAINER.layout)
    results = run(strategy, rounds=1, folder=tmp_path, initial=given, workers=workers)
    for name in DATA.names:
        fit = TRAINER.fit(given, DATA.samples(name), LOCAL, seed=3, round=1, client=name)
        expected = split.own_after(split.own_part(given), fit)
        own = split.own_part(own_of(tmp_path, strategy, results, name))
        assert own.parameters.tobytes() == expected.parameters.tobytes()
        assert own.buffers.tobytes() == expected.buffers.tobytes()
    whole = split.join(results[-1].state.model, split.own_part(given))
    saved = hr.server.checkpoint.load_model(tmp_path, TRAINER.layout)
    assert saved.parameters.tobytes() == whole.parameters.tobytes()
    adversary = Adversary(sign_flip(), 0.5)
    (attacked,) = run(strategy, rounds=1, initial=given, adversary=adversary)
    assert not attacked.dropped


def test_what_nobody_trains_is_nobodys_own():
    def frozen():
        net = Net()
        net.norm.requires_grad_(False)
        net.body.requires_grad_(False)
        net.body[1].eval()
        return net

    trainer = TorchTrainer(Task(frozen))
    split = per(personal="head.w").split(trainer.layout)
    start = trainer.initial(0)
    assert split.shared.constants == trainer.layout.constants
    assert split.shared_part(start).constants.tobytes() == start.constants.tobytes()
    assert not len(split.own_part(start).constants)
    for personal, message in (
        ("norms", "trains no norm layer"),
        ("body.", "trains 'head.weight', 'head.bias';"),
    ):
        with pytest.raises(ValueError, match=message):
            hr.fedavg(personal=personal).split(trainer.layout)
    results = run(per(personal="head.w"), task=trainer, rounds=2, initial=trainer.initial(8))
    assert not any(r.dropped for r in results)
    assert results[-1].state.model.constants.tobytes() == trainer.initial(8).constants.tobytes()


def test_a_device_finds_its_layers_after_a_restart_and_no_other_runs(tmp_path):
    """A device with a folder of its own needs no state folder to keep what it has learned."""
    strategy = per(sampling=hr.uniform(6))

    def rounds(number, state=None, run_id=1):
        guards = {str(k): Guard(Policy.unenrolled(), tmp_path / str(k)) for k in range(6)}
        restarted = client_app(
            TRAINER, DATA, strategy, guard=lambda config: guards[str(config["partition-id"])]
        )
        with PlainGrid(lambda m, context: restarted(m, replace(context, run_id=run_id)), DATA.names) as grid:
            state = state or hr.begin(strategy, TRAINER.initial(3), TRAINER.layout)
            return list(hr.rounds(grid, strategy, state, TRAINER.layout, num_rounds=number, seed=3))[-1].state

    for number in range(6):
        (tmp_path / str(number)).mkdir()
    expected = run(strategy, rounds=2)[-1].state.model.parameters
    middle = rounds(1)
    assert rounds(2, middle).model.parameters.tobytes() == expected.tobytes()
    assert rounds(2, middle, run_id=5).model.parameters.tobytes() != expected.tobytes()
    for run_id in range(10, 20):
        rounds(1, run_id=run_id)
    assert len(list((tmp_path / "0" / "states").iterdir())) == 8
