"""In real processes noise is the operating system's, and devices keep their accounts."""

import json

import pytest

from hedgerow.client import account
from hedgerow.client.secure.enrolment import enrol
from hedgerow.experiments.config.recipe import load
from hedgerow.experiments.runs.run import run_experiment
from hedgerow.experiments.runs.store import RunFolder
from hedgerow.privacy.accounting import epsilon
from hedgerow.privacy.events import from_json
from hedgerow.privacy.ledger import Ledger
from hedgerow.types import LocalTraining
from tests.engines.federation.conftest import DEVICES
from tests.engines.stateful_run import ROOT, run_config

COMMON = [
    "rounds=1",
    f"data.partition.clients={DEVICES}",
    f"strategy.clients_per_round={DEVICES}",
    f"strategy.population={DEVICES}",
    "strategy.noise_multiplier=2.0",
]
RUNS = {
    "private-secure": ([*COMMON, "strategy.min_clients=3", "strategy.dropout=0.0"], "masked"),
    "private": (COMMON, ""),
}


@pytest.mark.parametrize("recipe", [pytest.param("private-secure", marks=pytest.mark.long), "private"])
def test_noise_is_the_operating_systems(real, devices, recipe, tmp_path):
    """On Flower's own nodes; with masks, CI has it in `tests/installs/test_phones.py` too, in less time."""
    overrides, secure = RUNS[recipe]
    names = load(recipe, overrides).federation().names
    keys = {name: enrol(folder) for name, folder in zip(names, devices, strict=True)}
    register = "".join(f'"{name}" = "{key}"\n' for name, key in keys.items())
    for folder in devices:
        (folder / "register.toml").write_text(register)
    config = run_config(tmp_path / "served", recipe, overrides, register=devices[0] / "register.toml")
    outcome = real.run(ROOT, config)
    assert outcome.status == "completed", outcome.log
    served = RunFolder(tmp_path / "served")
    check(served, secure, outcome.log)
    simulated = run_experiment(load(recipe, overrides), tmp_path / "simulated")
    assert simulated.model.read_bytes() != served.model.read_bytes(), "its noise is not the seed's"


def check(run: RunFolder, secure: str, log: str) -> None:
    """One round, private, with nothing lost and nothing told."""
    (line,) = (line for line in run.rounds() if line["round"])
    assert (line["failed"], line["dropped"], line["metrics"]) == ("", {}, {}), log
    assert line.get("secure", "") == secure
    (counted,) = (json.loads(text) for text in (run.path / "privacy.jsonl").read_text().splitlines())
    assert counted["noise"] == "system"
    assert line["epsilon"] == pytest.approx(epsilon([from_json(counted["event"])], 1e-4))


def test_devices_keep_their_accounts_from_one_run_to_the_next(real, devices, tmp_path):
    """The second run finds the budgets used up."""
    local = LocalTraining(
        batch_size=16, epochs=2, clip_samples=1.0, sample_noise=2.0, sample_rate=0.1, sample_delta=1e-3
    )
    most = account.spent(local, 1)
    overrides = [
        "rounds=1",
        f"data.partition.clients={DEVICES}",
        "local.clip_samples=1.0",
        "local.sample_noise=2.0",
        "local.sample_rate=0.1",
        "local.sample_delta=1e-3",
        f"local.sample_epsilon={1.01 * most}",
    ]
    ran, refused = (real.run(ROOT, run_config(tmp_path / n, "heart", overrides)) for n in "12")
    assert ran.status == "completed", ran.log
    (line,) = (json.loads(text) for text in (tmp_path / "1" / "metrics.jsonl").read_text().splitlines())
    assert (line["failed"], line["dropped"], line["metrics"]) == ("", {}, {})
    assert refused.status == "failed"
    assert "takes no further part" in refused.log
    files = [folder / "privacy-samples.jsonl" for folder in devices]
    for file in files:
        (line,) = (json.loads(text) for text in file.read_text().splitlines())
        assert (line["round"], line["times"], line["noise"]) == (1, 20, "system")
        assert Ledger(account.budget(local), file).epsilon == pytest.approx(most)
