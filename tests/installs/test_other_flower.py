"""The oldest Flower that is allowed: coordinator, SuperLink and devices on it, and what is private of it."""

import json

import pytest

from tests.engines.federation.devices import RECIPE, write_clinics, write_plugin
from tests.installs.environments import ROOT, Environment

NAMES = ("attic", "barn", "cellar")
OLDEST = "1.41"
CONTRACTS = ("tests/api/test_superlink_private.py", "tests/laws/test_fleet_wire.py")


@pytest.fixture(scope="module")
def oldest(installs) -> Environment:
    """An environment with that Flower, and with what its contract tests need."""
    return installs("oldest", "server", f"flwr=={OLDEST}.*", "pytest", "hypothesis")


@pytest.mark.long
def test_a_federation_on_the_oldest_flower_gives_the_model_of_a_simulation(oldest, tmp_path):
    found = oldest.run("python", "-c", "from importlib.metadata import version as v; print(v('flwr'))").stdout
    assert found.startswith(f"{OLDEST}.")
    write_plugin(oldest.packages)
    (tmp_path / "clinics.toml").write_text(RECIPE)
    files = [str(file) for file in write_clinics(tmp_path, NAMES)]
    masked = ["strategy.name=secure_fedavg", "strategy.min_clients=3", "strategy.dropout=0.0"]
    for name, more, same in (
        ("plain", [], []), ("masked", ["--masks"], [*masked, "strategy.corrupt=0.0"]),
    ):  # fmt: skip
        recipe = [str(tmp_path / "clinics.toml"), "rounds=2"]
        played, alone = tmp_path / name, tmp_path / f"{name}-alone"
        done = oldest.run("hedgerow", "rehearse", *recipe, *more, "--out", str(played), "--data", *files)
        assert done.returncode == 0, done.stderr
        union = [*recipe, *same, f"data.files={json.dumps(files)}"]
        done = oldest.run("hedgerow", "run", *union, "--workers", "1", "--out", str(alone))
        assert done.returncode == 0, done.stderr
        assert (played / "model.safetensors").read_bytes() == (alone / "model.safetensors").read_bytes()


@pytest.mark.long
def test_what_is_private_of_the_oldest_flower_is_there(oldest, monkeypatch):
    monkeypatch.chdir(ROOT)
    done = oldest.run("python", "-m", "pytest", "-q", *CONTRACTS)
    assert done.returncode == 0, done.stdout
