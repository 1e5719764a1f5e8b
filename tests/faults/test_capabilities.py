"""A trainer that does less than its strategy needs is refused by name, before anything is trained."""

from dataclasses import fields, replace

import numpy as np
import pytest

import hedgerow as hr
from hedgerow.client.client_round import ClientConfig
from hedgerow.types import LocalTraining
from tests.support import MeanTrainer, clients

CLIENTS = clients(3)
ALL = hr.uniform(3)

SAMPLE_NOISE = LocalTraining(clip_samples=1.0, sample_noise=1.0, sample_rate=0.5, sample_delta=1e-5)
NEEDY = {
    "proximal": hr.fedprox(mu=0.1, sampling=ALL),
    "momentum": hr.fedavg(sampling=ALL, local=LocalTraining(momentum=0.9)),
    "adam": hr.fedavg(sampling=ALL, local=LocalTraining(optimizer="adam")),
    "weight_decay": hr.fedavg(sampling=ALL, local=LocalTraining(weight_decay=1e-4)),
    "clip_gradient": hr.fedavg(sampling=ALL, local=LocalTraining(clip_gradient=1.0)),
    "clip_samples": hr.fedavg(sampling=ALL, local=LocalTraining(clip_samples=1.0)),
    "clip_samples, opacus": hr.fedavg(
        sampling=ALL, local=LocalTraining(clip_samples=1.0, sample_gradients="opacus")
    ),
    "clip_samples, sample_noise": hr.fedavg(sampling=ALL, local=SAMPLE_NOISE),
    "correction": hr.scaffold(sampling=ALL),
    "max_steps": hr.fedavg(sampling=ALL, local=LocalTraining(max_steps=3)),
}
PLAIN = {"learning_rate": 0.3, "learning_rate_decay": 0.9, "epochs": 2, "batch_size": 3}


@pytest.mark.parametrize("missing", NEEDY)
def test_a_trainer_that_declares_nothing_is_refused_by_the_name_of_what_is_missing(missing, tmp_path):
    wanted = f"supports {missing}, and MeanTrainer supports nothing beyond plain SGD"
    for build in (
        lambda: hr.client_app(MeanTrainer(), CLIENTS, NEEDY[missing]),
        lambda: next(hr.simulate(MeanTrainer(), CLIENTS, NEEDY[missing], rounds=1, folder=tmp_path / "run")),
        lambda: ClientConfig(NEEDY[missing], MeanTrainer(), seeded_noise=True),
    ):
        with pytest.raises(ValueError, match=wanted) as caught:
            build()
        names = ", ".join(map(repr, missing.split(", ")))
        assert f"declare it: supports = frozenset({{{names}}})" in str(caught.value)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_what_is_declared_is_used_and_needs_no_more():
    class Proximal(MeanTrainer):
        supports = frozenset({"proximal"})

    (result,) = hr.simulate(Proximal(), CLIENTS, NEEDY["proximal"], rounds=1)
    assert not result.dropped
    with pytest.raises(ValueError, match="supports momentum, and Proximal supports proximal;"):
        hr.client_app(Proximal(), CLIENTS, NEEDY["momentum"])


def test_a_signature_that_takes_everything_declares_nothing():
    class Taking(MeanTrainer):
        def fit(self, model, data, local, *, correction=None, **options):
            assert correction is not None
            assert correction.shape == model.parameters.shape
            return super().fit(model, data, local, **options)

    with pytest.raises(ValueError, match="supports correction, and Taking"):
        hr.client_app(Taking(), CLIENTS, NEEDY["correction"])

    class Declaring(Taking):
        supports = frozenset({"correction"})

    (result,) = hr.simulate(Declaring(), CLIENTS, NEEDY["correction"], rounds=1)
    assert not result.dropped


def test_plain_sgd_is_all_that_nobody_has_to_declare():
    strategy = hr.fedavg(sampling=ALL, local=LocalTraining(**PLAIN))
    assert strategy.needs == frozenset()
    (result,) = hr.simulate(MeanTrainer(), CLIENTS, strategy, rounds=1)
    assert not result.dropped


def test_every_choice_of_local_training_is_plain_or_has_a_name():
    given = {field.name for field in fields(LocalTraining)} - PLAIN.keys()
    described = {"sample_rate", "sample_delta", "sample_epsilon", "sample_adjacency"}  # of sample_noise
    described |= {"time_budget"}  # of max_steps
    named = set().union(*(strategy.local.needs for strategy in NEEDY.values()))
    values = {"adam": "optimizer", "opacus": "sample_gradients"}
    assert given - described == {values.get(name, name) for name in named}


def test_the_trainers_of_ours_do_everything_that_a_strategy_can_need():
    from hedgerow.client.cohort import CohortTrainer

    task = hr.Task(lambda: __import__("torch").nn.Linear(2, 2))
    for trainer in (hr.TorchTrainer(task), CohortTrainer(task, mode="loop")):
        assert set().union(*(strategy.needs for strategy in NEEDY.values())) <= trainer.supports


@pytest.mark.parametrize("declared", ["proximal", ["proximal"], {1}, None])
def test_a_declaration_that_is_no_set_of_names_is_refused(declared):
    class Wrong(MeanTrainer):
        supports = declared

    with pytest.raises(ValueError, match=r"supports of Wrong is .*; it must be a set of names"):
        hr.client_app(Wrong(), CLIENTS, hr.fedavg())


def test_a_misspelt_declaration_is_told_with_the_nearest_name():
    class Misspelt(MeanTrainer):
        supports = frozenset({"proximl"})

    with pytest.raises(ValueError, match="Did you mean 'proximl'"):
        hr.client_app(Misspelt(), CLIENTS, NEEDY["proximal"])


def test_what_is_declared_is_there_and_what_is_there_is_declared():
    class Claims(MeanTrainer):
        supports = frozenset({"many"})

    class Hides(MeanTrainer):
        def fit_many(self, model, clients, local, *, seed, round):
            raise AssertionError("it must not be asked")

    with pytest.raises(ValueError, match="Claims declares 'many' in supports and has no fit_many"):
        hr.client_app(Claims(), CLIENTS, hr.fedavg())
    with pytest.raises(ValueError, match="Hides has fit_many and does not declare 'many' in supports"):
        hr.client_app(Hides(), CLIENTS, hr.fedavg())


class Momentum(MeanTrainer):
    """Carries a velocity from round to round."""

    supports = frozenset({"state"})

    def fit(self, model, data, local, *, state, **options):
        fit = super().fit(model, data, local, **options)
        velocity = fit.delta + np.float32(0.5) * state.get("velocity", np.zeros_like(fit.delta))
        return replace(fit, delta=velocity, state={"velocity": velocity})


def numbers(results):
    return [result.state.model.parameters.tobytes() for result in results]


def test_what_a_trainer_keeps_of_its_clients_gives_one_run_with_any_workers_and_after_a_resume(tmp_path):
    def run(rounds, **options):
        strategy = hr.fedavg(sampling=hr.uniform(2), pipeline=hr.error_feedback(hr.top_k(0.5)))
        return numbers(hr.simulate(Momentum(), CLIENTS, strategy, rounds=rounds, **options))

    whole = run(4)
    assert run(4, workers=2) == whole
    assert run(2, folder=tmp_path) + run(4, folder=tmp_path) == whole
    without = numbers(hr.simulate(MeanTrainer(), CLIENTS, hr.fedavg(sampling=hr.uniform(2)), rounds=4))
    assert without != whole


@pytest.mark.parametrize("strategy", [hr.dp_fedavg(0.5, 2.0), hr.fedavg(local=SAMPLE_NOISE)])
def test_what_is_kept_of_clients_does_not_stand_beside_an_account_that_knows_nothing_of_it(strategy):
    with pytest.raises(ValueError, match=r"Momentum keeps state of its clients .* not declare 'state'"):
        hr.client_app(Momentum(), CLIENTS, strategy)
