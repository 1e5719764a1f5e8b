"""Noise from the clients under a mask: the same bits with and without messages; and in real processes."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from hedgerow.client.enrolment import enrol
from hedgerow.experiments.recipe import load
from hedgerow.experiments.run import run_experiment
from hedgerow.experiments.simulate import simulate
from hedgerow.experiments.store import RunFolder
from hedgerow.privacy.accounting import epsilon
from hedgerow.privacy.events import from_json
from hedgerow.strategies import cyclic, secure_dp_fedavg
from tests.engines.federation import federation
from tests.support import MeanTrainer, clients

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Some(MeanTrainer):
    """Trains, but for one client, which fails."""

    def fit(self, model, data, local, *, seed, round, client):
        if client == "client-003":
            raise ValueError("no battery")
        return super().fit(model, data, local, seed=seed, round=round, client=client)


def run(noise: str, folder: Path | None = None, rounds: int = 3, **options):
    strategy = secure_dp_fedavg(
        0.5, 2.0, 1e-3, noise=noise, dropout=0.25, min_clients=8, sampling=cyclic(12, population=24)
    )
    return list(simulate(Some(), clients(24), strategy, rounds=rounds, folder=folder, **options))


def facts(result) -> tuple:
    state = result.state
    private = {name: values.tolist() for name, values in state.private.items()}
    return state.model.parameters.tobytes(), private, result.epsilon, dict(result.dropped), result.failed


@pytest.mark.parametrize("noise", ["gaussian", "skellam"])
def test_with_masks_and_without_them_the_same_is_released_bit_for_bit(noise, tmp_path):
    plain = run(noise, tmp_path / "plain")
    assert all(r.metrics == {} for r in plain), "the clients have a loss, and it would have no noise"
    assert [(r.secure, r.failed) for r in plain] == [("unmasked", "")] * 3
    assert any(r.dropped for r in plain)
    ways = [{"masks": True}, {"masks": True, "workers": 2}, {"workers": 2}, {"workers": 3}]
    for number, options in enumerate(ways):
        folder = tmp_path / str(number)
        other = run(noise, folder, **options)
        assert {r.secure for r in other} == {"masked" if "masks" in options else "unmasked"}
        for one, two in zip(plain, other, strict=True):
            masked = {name: why.removeprefix("masked: ") for name, why in two.dropped.items()}
            assert facts(one)[:3] == facts(two)[:3]
            assert dict(one.dropped) == masked
        assert (folder / "privacy.jsonl").read_bytes() == (tmp_path / "plain" / "privacy.jsonl").read_bytes()


def test_a_run_with_masks_goes_on_where_it_was_and_counts_nothing_twice(tmp_path):
    whole = run("gaussian", tmp_path / "whole")
    for number in (1, 2, 3):
        parts = run("gaussian", tmp_path / "parts", number, masks=number == 2)
    assert facts(parts[-1])[:3] == facts(whole[-1])[:3]
    assert (tmp_path / "parts" / "privacy.jsonl").read_bytes() == (
        tmp_path / "whole" / "privacy.jsonl"
    ).read_bytes()


CLIENTS = 3
COMMON = [
    "rounds=1",
    f"data.partition.clients={CLIENTS}",
    f"strategy.clients_per_round={CLIENTS}",
    f"strategy.population={CLIENTS}",
    "strategy.noise_multiplier=2.0",
]
RUNS = {
    "private-secure": [*COMMON, "strategy.min_clients=3", "strategy.dropout=0.0"],
    "private": COMMON,
}


@pytest.mark.slow
def test_real_federations_are_private_with_noise_from_the_operating_system(tmp_path):
    """A SuperLink and three SuperNodes."""
    names = load("private", COMMON).federation().names
    keys = {name: enrol(tmp_path / "devices" / str(i)) for i, name in enumerate(names)}
    register = "".join(f'"{name}" = "{key}"\n' for name, key in keys.items())
    for folder in (tmp_path / "devices").iterdir():
        (folder / "register.toml").write_text(register)
    with federation(
        tmp_path / "federation",
        nodes=CLIENTS,
        node_config=lambda i: {"partition-id": i, "enrolment": str(tmp_path / "devices" / str(i))},
    ) as real:
        for recipe, overrides in RUNS.items():
            config = {
                "recipe": recipe,
                "overrides": " ".join(f"'{text}'" for text in overrides),
                "out": str(tmp_path / recipe),
                "register": str(tmp_path / "devices" / "0" / "register.toml"),
            }
            outcome = real.run(ROOT, config)
            assert outcome.status == "completed", outcome.log
            served = RunFolder(tmp_path / recipe)
            check(served, "masked" if recipe == "private-secure" else "", outcome.log)
            simulated = run_experiment(load(recipe, overrides), tmp_path / f"simulated-{recipe}")
            assert simulated.model.read_bytes() != served.model.read_bytes(), "its noise is not the seed's"


def check(run: RunFolder, secure: str, log: str) -> None:
    """One round, private, with nothing lost and nothing told."""
    (line,) = (line for line in run.rounds() if line["round"])
    assert (line["failed"], line["dropped"], line["metrics"]) == ("", {}, {}), log
    assert line.get("secure", "") == secure
    (counted,) = (json.loads(text) for text in (run.path / "privacy.jsonl").read_text().splitlines())
    assert counted["noise"] == "system"
    assert line["epsilon"] == pytest.approx(epsilon([from_json(counted["event"])], 1e-4))
