"""A hostile server starts whatever run it likes; what leaves a device is what the device's policy allows."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from hedgerow.client.limits import Limits, NotAvailable
from hedgerow.client.policy import AgainstPolicy, Policy, client_event, strategy_hash
from hedgerow.experiments.config.recipe import load, recipe_text
from hedgerow.experiments.flower_app import recipe_app
from tests.attacks.devices import OPEN, Device, request, rules


def test_an_enrolled_device_sends_no_update_in_the_clear_however_often_it_is_asked(tmp_path) -> None:
    device = Device(tmp_path / "device", None)
    for run in (1, 2, 3):
        with pytest.raises(AgainstPolicy, match="rule masked_only"):
            device.train(run=run)
    assert not device.answers


SECURE = ("train.keys", "private-secure", "strategy.corrupt=0.2")
STRICT = Policy(client_noise=2.0, client_epsilon=20.0, delta=1e-4)
UNSET = (
    "noise_multiplier",
    "noise",
    "bits",
    "delta",
    "epsilon",
    "population",
    "corrupt",
    "dropout",
    "clip_norm",
)
PLAIN = ("strategy.weighted=false", "strategy.clip_norm=", *(f"strategy.{key}=" for key in UNSET))
CLIP_MASK = "clip(0.5), quantize(8, range=0.5), mask"

NOT_PRIVATE = {"client_noise", "client_epsilon"}

WEAKER = {
    "less noise": (["strategy.noise_multiplier=0.001"], {"client_noise"}),
    "a budget": (["strategy.noise_multiplier=", "strategy.epsilon=1000000"], {"client_noise"}),
    "rounds beyond all measure": (
        ["rounds=1000000000000", "strategy.noise_multiplier=0.001"],
        {"client_noise"},
    ),
    "a small cohort": (["strategy.min_clients=3", "strategy.dropout=0.0"], {"min_clients"}),
    "nobody corrupt": (["strategy.corrupt=0.0"], {"corrupt"}),
    "few failure bits": (
        [*PLAIN, "strategy.name=fedavg", f"strategy.pipeline=chain({CLIP_MASK}(failure_bits=20))"],
        {"failure_bits", *NOT_PRIVATE},
    ),
    "no noise": ([*PLAIN, "strategy.name=secure_fedavg"], NOT_PRIVATE),
    "no mask": ([*PLAIN, "strategy.name=fedavg"], {"masked_only", "statistics", *NOT_PRIVATE}),
    "the server's noise": (
        [*PLAIN, "strategy.name=dp_fedavg", "strategy.population=1000"],
        {"masked_only", "statistics", *NOT_PRIVATE},
    ),
}


@pytest.mark.parametrize("how", WEAKER)
@pytest.mark.parametrize("stage", ["keys", "masked", "unmask"])
def test_no_override_widens_a_policy_at_any_stage(how: str, stage: str, tmp_path) -> None:
    overrides, broken = WEAKER[how]
    device = Device(tmp_path / "device", STRICT, "fashion-mnist")
    assert rules(device.refused(f"train.{stage}", *SECURE[1:], *overrides)) == broken
    assert not device.answers


def test_what_a_policy_allows_it_does_not_refuse(tmp_path) -> None:
    strategy = load(SECURE[1], SECURE[2:]).strategy()
    for other in (strategy, load(SECURE[1], [*SECURE[2:], "strategy.clip_norm=0.1"]).strategy()):
        assert STRICT.refusals("train.keys", other) == []
    assert client_event(strategy).noise_multiplier == 2.3


@pytest.mark.parametrize(
    "overrides", [("strategy.pipeline=chain(mask(), clip(0.5))",), ("rounds=none",), ("x",)]
)
def test_a_run_that_resolves_to_nothing_is_answered_with_a_code_and_a_sentence(overrides, tmp_path) -> None:
    told = Device(tmp_path / "device", OPEN).refused("train", "heart", *overrides)
    assert told == "This client could not answer; why is in its own log."


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        ("evaluate", {"evaluate", "statistics", "masked_only"}),
        ("evaluate.all", {"evaluate", "statistics", "messages"}),
        ("query.sizes", {"statistics"}),
        ("train.more", {"messages"}),
    ],
)
def test_a_message_that_is_none_of_a_rounds_is_refused(kind: str, rule: set[str], tmp_path) -> None:
    told = Device(tmp_path / "device", Policy(), "fashion-mnist").refused(kind, *SECURE[1:])
    assert rules(told) == rule


def test_a_list_of_strategies_narrows_and_does_not_widen(tmp_path) -> None:
    plain, masked = load("heart").strategy(), load(SECURE[1], SECURE[2:]).strategy()
    policy = Policy(strategies=(strategy_hash(plain), strategy_hash(masked)))
    assert policy.refusals("train.keys", masked) == []
    assert rules("; ".join(policy.refusals("train", plain))) == {"masked_only", "statistics"}
    other = load(SECURE[1], [*SECURE[2:], "local.epochs=2"]).strategy()
    assert rules("; ".join(policy.refusals("train.keys", other))) == {"strategies"}


def test_a_recipe_that_is_a_path_reads_no_file_and_tells_of_none(tmp_path) -> None:
    secret = tmp_path / "patients.toml"
    secret.write_text('"jane doe" = "positive"\n')
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.toml").write_text('"jane doe" = 1\n')
    device = Device(tmp_path / "device", OPEN)
    told = {
        device.refused("query", str(path)) for path in (secret, run, tmp_path / "absent", "../absent.toml")
    }
    assert len(told) == 1, "there and not there look alike"
    assert rules(told.pop()) == {"recipes"}


@pytest.mark.parametrize(
    "override", ["data.name={}", 'data={{name="{}"}}', 'sweep.data.name=["{}"]', 'sweep.data=[{{name="{}"}}]']
)
def test_data_are_the_devices_own_and_no_path_tells_whether_it_is_there(override: str, tmp_path) -> None:
    there = tmp_path / "patients.csv"
    there.write_text("age,sick\nmany,no\n")
    loop = tmp_path / "loop.csv"
    loop.symlink_to(loop)
    device = Device(tmp_path / "device", OPEN)
    told = {
        device.refused("query", "heart", override.format(path))
        for path in (there, tmp_path / "absent.csv", "shakespeare", loop, "~root/x.csv", "~no-one/x.csv")
    }
    assert len(told) == 1
    assert rules(told.pop()) == {"data"}


def test_a_model_to_start_from_is_not_looked_for_on_a_device(tmp_path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    device = Device(tmp_path / "device", OPEN)
    for path in (loop, tmp_path, tmp_path / "absent", "~root/x", "~no-such-user/x"):
        assert device.ask("query", "heart", f"model.initial={path}")["hedgerow"]["client"]


def test_a_device_that_names_no_data_trains_on_none(tmp_path) -> None:
    device = Device(tmp_path / "device", OPEN, data="")
    assert rules(device.refused("query", "heart")) == {"data"}
    listed = Device(tmp_path / "listed", replace(OPEN, data=("heart-disease",)), data="")
    assert listed.ask("query", "heart")["hedgerow"]["client"]


@pytest.mark.parametrize("name", ["{}:make", "os:system", "subprocess:run"])
def test_a_model_that_is_code_is_not_run(name: str, tmp_path) -> None:
    code = tmp_path / "model.py"
    code.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    device = Device(tmp_path / "device", OPEN)
    assert rules(device.refused("query", "heart", f"model.name={name.format(code)}")) == {"recipes"}
    assert not (tmp_path / "ran").exists()


def test_a_recipe_that_the_policy_lists_may_name_the_devices_files(tmp_path) -> None:
    recipe = tmp_path / "ours.toml"
    recipe.write_text(recipe_text("heart"))
    device = Device(tmp_path / "device", replace(OPEN, recipes=(str(recipe),)), data="")
    assert device.ask("query", str(recipe))["hedgerow"]["client"]
    copy = tmp_path / "copy.toml"
    shutil.copy(recipe, copy)
    for other in (str(copy), "heart"):
        assert rules(device.refused("query", other)) == {"recipes"}
    assert rules(device.refused("query", str(recipe), "data.name=watch")) == {"data"}


def test_a_device_outside_its_limits_says_that_and_not_which_and_counts_no_answer(tmp_path) -> None:
    limits = Limits(quiet=("00:00-12:00", "12:00-00:00"))
    device = Device(tmp_path / "device", replace(OPEN, limits=limits))
    with pytest.raises(NotAvailable, match=r"^The device takes no new work now\.$"):
        device.train()
    assert not device.answers
    assert device.ask("query")["hedgerow"]["client"]


def test_a_device_with_a_file_trains_on_that_whatever_data_the_run_names(tmp_path) -> None:
    rows = np.random.default_rng(0).normal(size=(40, 29)).round(3)
    lines = [",".join([f"c{i}" for i in range(29)] + ["sick"])]
    lines += [",".join([*map(str, row), str(i % 2)]) for i, row in enumerate(rows)]
    file = tmp_path / "jane-doe.csv"
    file.write_text("\n".join(lines) + "\n")
    device = Device(tmp_path / "device", OPEN, str(file), **{"data-label": "sick", "client-name": "clinic"})
    reply = device.train()
    assert reply["hedgerow"]["client"] == "clinic"
    assert reply["hedgerow.metrics"]["num-examples"] == 40
    file.write_text("nonsense")
    recipe_app._device_client.cache_clear()
    told = device.refused("train", "heart", "seed=1", content=request())
    assert "jane-doe" not in told
    assert "nonsense" not in told
