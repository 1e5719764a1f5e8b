"""What compromised clients do: who they are, what they send, and that the same seed gives the same bits."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import hedgerow as hr
from hedgerow.experiments.cli.main import app
from hedgerow.experiments.config.errors import ConfigError
from hedgerow.experiments.config.recipe import load, load_table
from hedgerow.experiments.runs.run import run_experiment
from hedgerow.simulation.attacks.adversary import Adversary
from hedgerow.simulation.attacks.gaussian import gaussian
from hedgerow.simulation.attacks.label_flip import label_flip
from hedgerow.simulation.attacks.little_is_enough import little_is_enough
from hedgerow.simulation.attacks.model_replacement import model_replacement
from hedgerow.simulation.attacks.registry import ATTACKS
from hedgerow.simulation.attacks.sign_flip import sign_flip
from tests.support import DIMENSION, LAYOUT, MeanTrainer, clients

NAMES = [f"client-{number:03d}" for number in range(10)]
HEART = {
    "rounds": 2,
    "data": {"name": "heart-disease", "partition": {"name": "iid", "clients": 10}},
    "model": {"name": "logistic"},
    "strategy": {"fraction": 1.0, "weighted": False},
}


def trained(adversary: Adversary | None = None, rounds: int = 1, **options: object) -> np.ndarray:
    """The model's parameters after some rounds of ten clients in numpy."""
    strategy = hr.fedavg(sampling=hr.uniform(10), weighted=False)
    folder = Path(options.pop("folder"))
    for _ in hr.simulate(
        MeanTrainer(), clients(10), strategy, rounds=rounds, folder=folder, adversary=adversary, **options
    ):
        pass
    state = hr.server.checkpoint.load_checkpoint(folder / "checkpoints", LAYOUT, seed=options.get("seed", 0))
    return state.model.parameters


def deltas() -> np.ndarray:
    """What the ten clients honestly learn in the first round."""
    trainer, data = MeanTrainer(), clients(10)
    return np.stack(
        [
            trainer.fit(
                trainer.initial(0), data.samples(name), hr.LocalTraining(), seed=0, round=1, client=name
            ).delta
            for name in NAMES
        ]
    )


def test_the_share_is_rounded_up_and_the_seed_decides_who():
    adversary = Adversary(sign_flip(), 0.25)
    chosen = {seed: adversary.among(NAMES, seed) for seed in range(5)}
    assert {len(names) for names in chosen.values()} == {3}
    assert len(set(chosen.values())) > 1
    assert adversary.among(NAMES, 3) == chosen[3]
    assert Adversary(sign_flip(), 0.3).among(NAMES, 3) == chosen[3], "0.3 of 10 are 3, not 4"
    assert not Adversary(sign_flip(), 0.0).among(NAMES, 3)


def test_the_delta_that_counts_is_the_attackers_and_the_others_are_theirs(tmp_path):
    adversary = Adversary(sign_flip(4.0), 0.2)
    expected, who = deltas(), adversary.among(NAMES, 0)
    for place, name in enumerate(NAMES):
        expected[place] *= -4.0 if name in who else 1.0
    moved = trained(adversary, folder=tmp_path) - MeanTrainer().initial(0).parameters
    np.testing.assert_allclose(moved, expected.mean(0), atol=1e-6)


def test_little_is_enough_sends_mean_minus_deviations_of_the_compromised(tmp_path):
    adversary = Adversary(little_is_enough(1.5), 0.3)
    expected, who = deltas(), adversary.among(NAMES, 0)
    places = [place for place, name in enumerate(NAMES) if name in who]
    expected[places] = expected[places].mean(0) - 1.5 * expected[places].std(0)
    moved = trained(adversary, folder=tmp_path) - MeanTrainer().initial(0).parameters
    np.testing.assert_allclose(moved, expected.mean(0), atol=1e-6)


@pytest.mark.parametrize("name", ATTACKS.names())
def test_every_attack_changes_the_model_and_the_same_seed_gives_the_same_bits(name, tmp_path):
    attack, runs = {"name": name, "clients": 0.2}, {}
    for run, table in {"honest": {}, "first": {"attack": attack}, "second": {"attack": attack}}.items():
        folder = tmp_path / run
        runs[run] = run_experiment(load_table({"name": "x", **HEART, **table}), folder).model.read_bytes()
    assert runs["first"] == runs["second"]
    assert runs["first"] != runs["honest"]


@pytest.mark.parametrize("attack", [gaussian(), little_is_enough()], ids=lambda attack: attack.name)
def test_with_two_workers_and_after_a_stop_it_is_the_same_run(attack, tmp_path):
    adversary = Adversary(attack, 0.3)
    alone = trained(adversary, rounds=2, folder=tmp_path / "alone")
    trained(adversary, rounds=1, folder=tmp_path / "stopped")
    resumed = trained(adversary, rounds=2, workers=2, folder=tmp_path / "stopped")
    assert alone.shape == (DIMENSION,)
    assert resumed.tobytes() == alone.tobytes()


def test_clients_that_train_side_by_side_attack_as_those_that_train_alone(tmp_path):
    experiment = load_table({"name": "x", **HEART})
    for attack in (label_flip(2), little_is_enough()):
        found = []
        for trainer in ("loop", "batch"):
            *_, last = hr.simulate(
                experiment.task(), experiment.federation(), experiment.strategy(), rounds=2, trainer=trainer,
                test=experiment.dataset().test, adversary=Adversary(attack, 0.3),
            )  # fmt: skip
            found.append(last.evaluation["loss"])
        assert found[0] == pytest.approx(found[1], abs=1e-4)


def test_a_model_that_is_replaced_is_that_of_wrong_labels():
    experiment = load_table({"name": "x", **HEART})

    def accuracy(attack, **parts):
        *_, last = hr.simulate(
            experiment.task(), experiment.federation(), replace(experiment.strategy(), **parts), rounds=3,
            test=experiment.dataset().test, adversary=Adversary(attack, 0.1),
        )  # fmt: skip
        return last.evaluation["accuracy"]

    assert accuracy(label_flip(2), norm_bound=0) > 0.7
    assert accuracy(model_replacement(10.0, 2), norm_bound=0) < 0.5
    assert accuracy(model_replacement(10.0, 2)) > 0.7, "by default its norm is bounded"


def test_what_the_attack_leaves_out_of_range_drops_its_client_by_name():
    strategy = hr.fedavg(sampling=hr.uniform(10), weighted=False)
    adversary = Adversary(sign_flip(1e38), 0.1)
    (result,) = hr.simulate(MeanTrainer(), clients(10), strategy, rounds=1, adversary=adversary)
    assert set(result.dropped) == adversary.among(NAMES, 0)


def test_labels_that_are_no_classes_are_refused():
    with pytest.raises(ValueError, match="float32, not classes"):
        label_flip(3).samples(hr.Samples(np.zeros((2, 1)), np.zeros(2, np.float32)))


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        ({"name": "sign_flp", "clients": 0.2}, r"attack.name = \"sign_flp\": .*Did you mean 'sign_flip'"),
        ({"name": "sign_flip", "clients": 1.0}, "attack.clients = 1.0: it must be a number from 0 up to"),
        ({"name": "sign_flip"}, "attack.clients: it must be given, such as clients = 0.2"),
        ({"clients": 0.2}, 'attack.name: it must be given, such as name = "sign_flip"'),
        (
            {"name": "sign_flip", "clients": 0.2, "scale": -1},
            "attack.scale = -1: it must be a number above 0",
        ),
        (
            {"name": "sign_flip", "clients": 0.2, "z": 1.5},
            "attack.z = 1.5: there is no such key; allowed are clients, scale",
        ),
        (
            {"name": "label_flip", "clients": 0.2, "num_classes": 3},
            "attack.num_classes = 3: there is no such key",
        ),
        ({"name": "little_is_enough", "clients": 0.2, "observed": 1}, "attack.observed = 1: it must be"),
    ],
)
def test_an_attack_that_cannot_be_is_refused_with_what_is_allowed(attack, message):
    with pytest.raises(ConfigError, match=message):
        load_table({"name": "x", **HEART, "attack": attack})


def test_the_number_of_classes_is_the_datas():
    table = {"name": "x", **HEART, "attack": {"name": "label_flip", "clients": 0.1}}
    adversary = load_table(table, ["data.name=fashion-mnist"]).adversary()
    samples = adversary.attack.samples(hr.Samples(np.zeros((2, 1)), np.array([0, 9])))
    assert samples.y.tolist() == [9, 0]
    assert load_table(table, ["attack.clients=0"]).adversary() is None


def test_real_clients_do_not_attack(tmp_path):
    experiment = load_table({"name": "x", **HEART, "attack": {"name": "sign_flip", "clients": 0.2}})
    with pytest.raises(ValueError, match="only simulated clients attack"):
        run_experiment(experiment, tmp_path / "run", grid=object())


def test_rules_and_attacks_are_listed():
    listed = CliRunner().invoke(app, ["list", "attacks", "--json"])
    assert list(json.loads(listed.output)["attacks"]) == ATTACKS.names()
    rules = json.loads(CliRunner().invoke(app, ["list", "aggregates", "--json"]).output)["aggregates"]
    assert list(rules) == ["mean", "median", "trimmed_mean", "krum", "geometric_median"]
    assert all(rules.values())


def test_with_the_recipes_attack_the_mean_fails_and_the_rules_hold():
    swept = load("robust", ["sweep.attack.clients=[0.2]"]).cells
    found = {}
    for cell in swept:  # on data that take no time
        attack = cell.experiment.attack.model_dump()
        strategy = {**HEART["strategy"], "aggregate": cell.experiment.strategy_config.aggregate}
        experiment = load_table(
            {**HEART, "name": "x", "rounds": 6, "strategy": strategy, "attack": attack},
            ["data.partition.clients=15", "local.learning_rate=0.5"],
        )
        *_, last = hr.simulate(
            experiment.task(), experiment.federation(), experiment.strategy(), rounds=6,
            test=experiment.dataset().test, evaluate_every=6, adversary=experiment.adversary(),
        )  # fmt: skip
        found[cell.experiment.label] = last.evaluation["accuracy"]
    assert found.pop("mean(), clients=0.2") < 0.6
    assert len(found) == 4
    assert min(found.values()) > 0.75, found
