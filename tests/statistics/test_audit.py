"""The audit passes what is sound, and fails what is not: each fault below is put in, and must be found."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hedgerow import rng
from hedgerow.experiments.audit import Audit, audit, described, draw
from hedgerow.server.private import Released
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
from hedgerow.strategies import release as release_module
from hedgerow.strategies.pipeline.norms import clipped
from hedgerow.strategies.release import UNIT, Noise, Release
from hedgerow.strategies.sampling import Sampling
from hedgerow.strategies.transforms import client_noise

SAMPLING = poisson(12, population=60)
SOUND = dp_fedavg(0.5, 1.0, 1e-3, sampling=SAMPLING)
ROUNDS = 16
TURNS = cyclic(20, population=60)
DISTRIBUTED = {
    noise: secure_dp_fedavg(0.5, 2.0, 1e-3, noise=noise, dropout=0.3, sampling=TURNS)
    for noise in ("gaussian", "skellam")
}


def failed(heard: Audit) -> list[str]:
    return [finding.name for finding in heard.findings if not finding.holds]


@pytest.mark.slow
def test_on_twenty_seeds_the_canaries_stay_within_one_and_a_half_times_the_ledgers_epsilon():
    many = replace(SOUND, sampling=poisson(60, population=300))
    heard = [audit(many, num_rounds=ROUNDS, seed=seed) for seed in range(20)]
    assert [failed(each) for each in heard] == [[]] * 20
    assert max(each.empirical / each.epsilon for each in heard) <= 1.5
    assert min(each.empirical for each in heard) > 0.5, "an audit that hears nothing would prove nothing"


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
    heard = audit(strategy, num_rounds=ROUNDS)
    assert failed(heard) == []
    assert heard.passed
    assert "Nothing speaks against" in list(described(heard))[-1]


Patch = Callable[[pytest.MonkeyPatch], None]


def contribution(change: Callable[[Release, np.ndarray, float], np.ndarray]) -> Patch:
    """A fault in what the server adds to the sum; the clients do not clip either."""

    def put_in(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(Release, "contribution", change)

    return put_in


def no_clip(self: Release, delta: np.ndarray, norm: float) -> np.ndarray:
    return delta


def weights_after_the_clip(self: Release, delta: np.ndarray, norm: float) -> np.ndarray:
    return np.float32(3.0) * clipped(delta, norm)


def clip_of_each_half(self: Release, delta: np.ndarray, norm: float) -> np.ndarray:
    half = len(delta) // 2
    return np.concatenate([clipped(delta[:half], norm), clipped(delta[half:], norm)])


def clip_to_twice_the_norm(self: Release, delta: np.ndarray, norm: float) -> np.ndarray:
    return clipped(delta, 2 * norm)


def clip_after_the_sum(patch: pytest.MonkeyPatch) -> None:
    sound = Release.__call__

    def bounded_total(self, total, state, words):
        norm = self.bounding.norm(state) * self.expected
        values = clipped((total * UNIT).astype(np.float32), norm)
        return sound(self, np.rint(values / UNIT).astype(np.int64), state, words)

    patch.setattr(Release, "contribution", no_clip)
    patch.setattr(Release, "__call__", bounded_total)


def noise_times(factor: float) -> Patch:
    def put_in(patch: pytest.MonkeyPatch) -> None:
        sound = Noise.sigma
        patch.setattr(Noise, "sigma", lambda self, reach, n: max(1, int(factor * sound(self, reach, n))))

    return put_in


def noise_in_the_first_round_only(patch: pytest.MonkeyPatch) -> None:
    sound, calls = release_module.discrete_gaussian, []

    def once(sigma, n, words):
        calls.append(n)
        return sound(sigma, n, words) if len(calls) == 1 else np.zeros(n, np.int64)

    patch.setattr(release_module, "discrete_gaussian", once)


def noise_on_half_of_the_values(patch: pytest.MonkeyPatch) -> None:
    sound = release_module.discrete_gaussian

    def half(sigma, n, words):
        drawn = sound(sigma, n, words)
        drawn[::2] = 0
        return drawn

    patch.setattr(release_module, "discrete_gaussian", half)


def the_same_noise_in_every_round(patch: pytest.MonkeyPatch) -> None:
    sound = rng.seeded_words
    patch.setattr(rng, "seeded_words", lambda seed, purpose, **others: sound(seed, purpose))


def noise_without_a_sensitivity(patch: pytest.MonkeyPatch) -> None:
    """Sigma is the multiplier of a clip norm of 0.1, and the clip norm is 0.5."""
    sound = Noise.sigma
    patch.setattr(Noise, "sigma", lambda self, reach, n: sound(self, 0.1, n))


def division_by_the_actual_cohort(patch: pytest.MonkeyPatch) -> None:
    sound = Released.aggregated

    def aggregated(self, state):
        strategy = self.rounds.strategy
        actual = replace(strategy.sampling, expected=float(max(1, self.replies.counted)))
        return sound(
            replace(self, rounds=replace(self.rounds, strategy=replace(strategy, sampling=actual))), state
        )

    patch.setattr(Released, "aggregated", aggregated)


FAULTS: dict[str, tuple[Patch, str]] = {
    "no clip": (contribution(no_clip), "sensitivity"),
    "weights after the clip": (contribution(weights_after_the_clip), "sensitivity"),
    "each half clipped for itself": (contribution(clip_of_each_half), "sensitivity"),
    "clip to twice the norm": (contribution(clip_to_twice_the_norm), "sensitivity"),
    "clip applied after the sum": (clip_after_the_sum, "sensitivity"),
    "noise over the root of ten": (noise_times(10**-0.5), "noise"),
    "noise over the expected cohort": (noise_times(1 / 12), "noise"),
    "noise measured for another norm": (noise_without_a_sensitivity, "noise"),
    "noise once and not in every round": (noise_in_the_first_round_only, "noise"),
    "noise on half of the values": (noise_on_half_of_the_values, "noise"),
    "the same noise in every round": (the_same_noise_in_every_round, "freshness"),
    "division by the actual cohort": (division_by_the_actual_cohort, "noise"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_release_is_found(fault, monkeypatch):
    put_in, name = FAULTS[fault]
    silent_client = replace(SOUND.pipeline, encode=lambda payload, state, context: (payload, {}))
    strategy = replace(SOUND, pipeline=silent_client)
    assert failed(audit(strategy, num_rounds=ROUNDS)) == [], "the server's clip alone is enough"
    put_in(monkeypatch)
    # 1.4 clip norms in place of 1 take more rounds to hear than twice as many.
    heard = audit(strategy, num_rounds=3 * ROUNDS if fault == "each half clipped for itself" else ROUNDS)
    assert name in failed(heard), list(described(heard))
    assert not heard.passed


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
    assert "sampling" in failed(audit(sampled(choose), num_rounds=ROUNDS))


def test_cohorts_that_come_round_too_early_are_found():
    rule = cyclic(12, population=60)
    early: Sampling = replace(rule, choose=lambda names, seed, round: rule.choose(names, seed, round % 4))
    strategy = replace(dp_ftrl(0.5, 2.0, 1e-3, bands=5, sampling=rule), sampling=early)
    assert "sampling" in failed(audit(strategy, num_rounds=ROUNDS))


@pytest.mark.parametrize(("noise", "sampler"), [("gaussian", "discrete_gaussian"), ("skellam", "skellam")])
def test_noise_of_clients_that_is_too_little_is_found(monkeypatch, noise, sampler):
    sound = getattr(client_noise, sampler)
    monkeypatch.setattr(client_noise, sampler, lambda size, n, words: sound(size, n, words) // 3)
    strategy = DISTRIBUTED[noise]
    assert "noise" in failed(audit(strategy, num_rounds=ROUNDS))


def test_what_is_not_private_is_not_audited():
    with pytest.raises(ValueError, match=r"fedavg is not private.*dp_fedavg"):
        audit(fedavg())


def test_the_picture_is_drawn(tmp_path: Path):
    file = tmp_path / "audit.png"
    draw(audit(SOUND, num_rounds=2), file)
    assert file.read_bytes().startswith(b"\x89PNG")
