"""Noise from the clients under a mask: the same bits with and without messages."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from hedgerow.experiments.runs.simulate import simulate
from hedgerow.strategies import cyclic, secure_dp_fedavg
from tests.support import MeanTrainer, clients


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
