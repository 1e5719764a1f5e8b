"""The audit passes what is sound, and finds faults in the sampling and in the noise of clients."""

from dataclasses import replace
from pathlib import Path

import pytest

from hedgerow import rng
from hedgerow.client.client_round import ClientRound
from hedgerow.experiments.audit.clients import audit
from hedgerow.experiments.audit.report import described, draw
from hedgerow.strategies import (
    Strategy,
    cyclic,
    dp_fedavg,
    dp_ftrl,
    fedavg,
    parse_pipeline,
    poisson,
    secure_dp_fedavg,
)
from hedgerow.strategies.sampling import Sampling
from hedgerow.strategies.transforms import client_noise
from tests.statistics.audit_cases import SAMPLING, SMALL, SOUND, failed, noise_times

pytestmark = pytest.mark.usefixtures("each_epsilon_is_computed_once")

TURNS = cyclic(20, population=60)

DISTRIBUTED = {
    noise: secure_dp_fedavg(0.5, 2.0, 1e-3, noise=noise, dropout=0.3, sampling=TURNS)
    for noise in ("gaussian", "skellam")
}


@pytest.mark.long
def test_in_twenty_deployments_neither_guesses_nor_scores_speak_against_the_ledger():
    many = replace(SOUND, sampling=poisson(60, population=300))
    heard = [audit(many, num_rounds=12, seed=seed) for seed in range(20)]
    assert [failed(each) for each in heard] == [[]] * 20
    assert max(each.estimate / each.epsilon for each in heard) <= 1.5
    assert sum(each.bound > each.epsilon for each in heard) <= 3, (
        "at most one of twenty, with 95 % confidence"
    )
    assert min(each.estimate for each in heard) > 0.5, "an audit that hears nothing would prove nothing"


def test_without_noise_worth_the_name_guesses_alone_refute_the_ledger(monkeypatch):
    noise_times(0.02)(monkeypatch)
    heard = audit(
        dp_fedavg(0.5, 8.0, 1e-3, sampling=poisson(300, population=300)), num_rounds=4, dimension=512
    )
    assert heard.bound > heard.epsilon
    assert "canaries" in failed(heard)


@pytest.mark.parametrize(
    "strategy",
    [
        dp_fedavg(0.5, 0.7, 1e-3, clip_quantile=0.5, clip_share=0.1, sampling=SAMPLING),
        dp_fedavg(0.5, 1.0, 1e-3, sampling=SAMPLING, pipeline=parse_pipeline("quantize(4)")),
        dp_ftrl(0.5, 2.0, 1e-3, bands=5, sampling=cyclic(12, population=60), server_momentum=0.9),
        *DISTRIBUTED.values(),
    ],
    ids=["adaptive", "quantised", "ftrl", "distributed", "skellam"],
)
def test_every_private_strategy_passes(strategy):
    heard = audit(strategy, **SMALL)
    assert failed(heard) == []
    assert heard.passed
    assert "Nothing speaks against" in list(described(heard))[-1]


def sampled(choose) -> Strategy:
    return replace(SOUND, sampling=replace(SAMPLING, choose=choose))


def everybody(names, seed, round):
    return tuple(names)


def always_twelve(names, seed, round):
    positions = rng.generator(seed, "test", round=round).choice(len(names), 12, replace=False)
    return tuple(names[i] for i in sorted(positions.tolist()))


def twice_the_rate(names, seed, round):
    return poisson(24, population=60).choose(names, seed, round)


@pytest.mark.parametrize("choose", [everybody, always_twelve, twice_the_rate])
def test_a_fault_in_the_sampling_is_found(choose):
    assert "sampling" in failed(audit(sampled(choose), num_rounds=12, dimension=256))


def test_cohorts_that_come_round_too_early_are_found():
    rule = cyclic(12, population=60)
    early: Sampling = replace(rule, choose=lambda names, seed, round: rule.choose(names, seed, round % 4))
    strategy = replace(dp_ftrl(0.5, 2.0, 1e-3, bands=5, sampling=rule), sampling=early)
    assert "sampling" in failed(audit(strategy, **SMALL))


@pytest.mark.parametrize(("noise", "sampler"), [("gaussian", "discrete_gaussian"), ("skellam", "skellam")])
def test_noise_of_clients_that_is_too_little_is_found(monkeypatch, noise, sampler):
    sound = getattr(client_noise, sampler)
    monkeypatch.setattr(client_noise, sampler, lambda size, n, source: sound(size, n, source) // 3)
    assert "noise" in failed(audit(DISTRIBUTED[noise], num_rounds=4, dimension=512))


def seeds_noise(own_source):
    return lambda size, n, source: own_source(size, n, rng.seeded_source(0, "test"))


@pytest.mark.parametrize(("noise", "sampler"), [("gaussian", "discrete_gaussian"), ("skellam", "skellam")])
def test_noise_of_clients_that_they_share_is_found(monkeypatch, noise, sampler):
    monkeypatch.setattr(client_noise, sampler, seeds_noise(getattr(client_noise, sampler)))
    assert {"noise", "freshness"} <= set(failed(audit(DISTRIBUTED[noise], num_rounds=4, dimension=512)))


def test_noise_of_clients_from_the_runs_seed_is_found(monkeypatch):
    """Each client has a stream of its own, and a new one in each round; but it follows from the seed."""
    sound = ClientRound._encode
    monkeypatch.setattr(
        ClientRound,
        "_encode",
        lambda self, fit: sound(replace(self, config=replace(self.config, seeded_noise=True)), fit),
    )
    assert "freshness" in failed(audit(DISTRIBUTED["gaussian"], num_rounds=4, dimension=512))


def test_what_is_not_private_is_not_audited():
    with pytest.raises(ValueError, match=r"fedavg is not private.*dp_fedavg"):
        audit(fedavg())


def test_the_picture_is_drawn(tmp_path: Path):
    file = tmp_path / "audit.png"
    draw(audit(SOUND, num_rounds=2, dimension=256), file)
    assert file.read_bytes().startswith(b"\x89PNG")
