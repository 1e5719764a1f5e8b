"""The audit passes what is sound, and fails what is not: each fault below is put in, and must be found."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from hedgerow import LocalTraining, rng
from hedgerow.client.client_round import Turn
from hedgerow.client.torch import private as torch_private
from hedgerow.client.torch import trainer as torch_trainer
from hedgerow.experiments.audit.clients import Audit, audit
from hedgerow.experiments.audit.report import described, draw
from hedgerow.experiments.audit.samples import audit_samples
from hedgerow.privacy import ledger as ledger_module
from hedgerow.privacy.events import Event
from hedgerow.privacy.ledger import Ledger
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
QUIET = dp_fedavg(0.5, 0.005, 1e-3, sampling=SAMPLING)
"""With little noise, a few clients tell by how much each moves the sum."""

SMALL = {"num_rounds": 8, "dimension": 512}
LARGE = {"num_rounds": 20, "dimension": 1024}
"""A tenth of the noise is 8 standard errors."""

TURNS = cyclic(20, population=60)
DISTRIBUTED = {
    noise: secure_dp_fedavg(0.5, 2.0, 1e-3, noise=noise, dropout=0.3, sampling=TURNS)
    for noise in ("gaussian", "skellam")
}


@pytest.fixture(autouse=True, scope="module")
def each_epsilon_is_computed_once():
    """Most of an audit's time goes into the ledger's epsilon after each round; here most are the same."""
    sound = ledger_module.epsilon

    @cache
    def known(counts: frozenset[tuple[Event, int]], delta: float, adjacency: str) -> float:
        return sound([event for event, times in counts for _ in range(times)], delta, adjacency)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            ledger_module, "epsilon", lambda events, *given: known(frozenset(Counter(events).items()), *given)
        )
        yield


def failed(heard: Audit) -> list[str]:
    return [finding.name for finding in heard.findings if not finding.holds]


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


def constant_words(n: int) -> np.ndarray:
    return rng.seeded_words(0, "test")(n)


def the_same_noise_in_every_round(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rng, "system_words", constant_words)


def one_stream_for_two_rounds(patch: pytest.MonkeyPatch) -> None:
    sound = Release.__call__

    def reused(self, total, state, words):
        drawn = len(drawn_before)
        drawn_before.append(drawn)
        return sound(self, total, state, rng.seeded_words(own + drawn // 2, "test"))

    drawn_before: list[int] = []
    own = rng.secret_seed()
    patch.setattr(Release, "__call__", reused)


def noise_from_the_runs_seed(patch: pytest.MonkeyPatch) -> None:
    sound = Released.aggregated

    def aggregated(self, state):
        words = rng.seeded_words(self.rounds.seed, "noise", round=state.round)
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(rng, "system_words", words)
            return sound(self, state)

    patch.setattr(Released, "aggregated", aggregated)


def noise_left_out_where_it_is_not_seeded(patch: pytest.MonkeyPatch) -> None:
    sound = release_module.discrete_gaussian
    patch.setattr(
        release_module,
        "discrete_gaussian",
        lambda sigma, n, words: (
            np.zeros(n, np.int64) if words is rng.system_words else sound(sigma, n, words)
        ),
    )


def ledger_kept_in_memory_only(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ledger_module, "append_line", lambda file, text: None)


def ledger_written_after_the_release(patch: pytest.MonkeyPatch) -> None:
    sound, late = ledger_module.append_line, []

    def append(file: Path, text: str) -> None:
        if late:
            sound(file, late.pop())
        late.append(text)

    patch.setattr(ledger_module, "append_line", append)


def a_release_although_the_ledger_cannot_be_written(patch: pytest.MonkeyPatch) -> None:
    sound = Ledger.record

    def record(self, *given, **others):
        try:
            return sound(self, *given, **others)
        except OSError:
            return 0.0

    patch.setattr(Ledger, "record", record)


def one_round_less_in_the_account(patch: pytest.MonkeyPatch) -> None:
    sound = ledger_module.epsilon
    patch.setattr(ledger_module, "epsilon", lambda events, *given: sound(list(events)[1:], *given))


def cohorts_from_the_runs_seed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rng, "secret_seed", lambda: 7)


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
    "a tenth of the noise left out": (noise_times(0.9), "noise"),
    "noise left out where it is not seeded": (noise_left_out_where_it_is_not_seeded, "noise"),
    "noise from the run's seed": (noise_from_the_runs_seed, "freshness"),
    "one stream for two rounds": (one_stream_for_two_rounds, "freshness"),
    "ledger kept in memory only": (ledger_kept_in_memory_only, "ledger"),
    "ledger written after the release": (ledger_written_after_the_release, "ledger"),
    "a release without a ledger": (a_release_although_the_ledger_cannot_be_written, "ledger"),
    "one round less in the account": (one_round_less_in_the_account, "account"),
    "cohorts from the run's seed": (cohorts_from_the_runs_seed, "secret cohorts"),
}


DETECTED = {
    "each half clipped for itself": (replace(QUIET, sampling=poisson(60, population=60)), SMALL),
    "a tenth of the noise left out": (SOUND, LARGE),
    "division by the actual cohort": (replace(SOUND, sampling=poisson(3, population=60)), LARGE),
}
"""What takes more clients, more values, or cohorts of more different sizes to hear."""


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_release_is_found(fault, monkeypatch):
    put_in, name = FAULTS[fault]
    put_in(monkeypatch)
    strategy, size = DETECTED.get(fault, (QUIET if name == "sensitivity" else SOUND, SMALL))
    heard = audit(strategy, **size)
    assert name in failed(heard), list(described(heard))
    assert not heard.passed


def test_the_servers_clip_is_enough_where_clients_do_not_clip():
    lies = replace(SOUND.pipeline, encode=lambda payload, state, context: (payload, {}))
    assert failed(audit(replace(SOUND, pipeline=lies), **SMALL)) == []


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
    monkeypatch.setattr(client_noise, sampler, lambda size, n, words: sound(size, n, words) // 3)
    assert "noise" in failed(audit(DISTRIBUTED[noise], num_rounds=4, dimension=512))


def seeds_noise(self_words):
    return lambda size, n, words: self_words(size, n, rng.seeded_words(0, "test"))


@pytest.mark.parametrize(("noise", "sampler"), [("gaussian", "discrete_gaussian"), ("skellam", "skellam")])
def test_noise_of_clients_that_they_share_is_found(monkeypatch, noise, sampler):
    monkeypatch.setattr(client_noise, sampler, seeds_noise(getattr(client_noise, sampler)))
    assert {"noise", "freshness"} <= set(failed(audit(DISTRIBUTED[noise], num_rounds=4, dimension=512)))


def test_noise_of_clients_from_the_runs_seed_is_found(monkeypatch):
    """Each client has a stream of its own, and a new one in each round; but it follows from the seed."""
    sound = Turn._encode
    monkeypatch.setattr(
        Turn,
        "_encode",
        lambda self, fit: sound(replace(self, setting=replace(self.setting, seeded_noise=True)), fit),
    )
    assert "freshness" in failed(audit(DISTRIBUTED["gaussian"], num_rounds=4, dimension=512))


LOCAL = LocalTraining(batch_size=32, clip_samples=1.0, sample_noise=1.1, sample_rate=0.25, sample_delta=1e-3)


@pytest.mark.parametrize("rate", [0.25, 1.0])
def test_training_with_noise_passes_and_canaries_among_the_samples_are_heard(rate):
    heard = audit_samples(replace(LOCAL, sample_rate=rate, momentum=0.9), seed=3)
    assert failed(heard) == []
    assert heard.bound > 0.2 or rate < 1
    assert heard.estimate > 0.2


def drawn_from_the_runs_seed(which: str) -> Patch:
    def put_in(patch: pytest.MonkeyPatch) -> None:
        sound = torch_trainer.chance

        def chance(seeded, **where):
            return replace(sound(False, **where), **{which: getattr(sound(True, **where), which)})

        patch.setattr(torch_trainer, "chance", chance)

    return put_in


def in_torch_private(name: str, change: Callable[..., object]) -> Patch:
    def put_in(patch: pytest.MonkeyPatch) -> None:
        sound = getattr(torch_private, name)
        patch.setattr(torch_private, name, lambda *given: change(sound, *given))

    return put_in


def samples_clipped_to(factor: float) -> Patch:
    def put_in(patch: pytest.MonkeyPatch) -> None:
        sound = torch_trainer.SampleGradients.fixed_sum
        patch.setattr(
            torch_trainer.SampleGradients,
            "fixed_sum",
            lambda self, *given: (factor * sound(self, *given)).long(),
        )

    return put_in


def steps_left_out_of_the_account(patch: pytest.MonkeyPatch) -> None:
    sound = Ledger.record
    patch.setattr(
        Ledger,
        "record",
        lambda self, *given, times=1, **others: sound(self, *given, times=max(1, times - 1), **others),
    )


SAMPLE_FAULTS: dict[str, tuple[Patch, str]] = {
    "batches from the run's seed": (drawn_from_the_runs_seed("batch"), "sample batches"),
    "noise from the run's seed": (drawn_from_the_runs_seed("noise"), "sample freshness"),
    "a tenth of the noise left out": (
        in_torch_private("discrete_gaussian", lambda sound, s, n, w: sound(int(0.9 * s), n, w)),
        "sample noise",
    ),
    "noise left out": (
        in_torch_private("discrete_gaussian", lambda sound, s, n, w: np.zeros(n, np.int64)),
        "sample noise",
    ),
    "one stream for all steps": (
        in_torch_private(
            "discrete_gaussian", lambda sound, s, n, w: sound(s, n, rng.seeded_words(0, "test"))
        ),
        "sample freshness",
    ),
    "twice the rate": (
        in_torch_private("poisson_batch", lambda sound, n, rate, w: sound(n, 2 * rate, w)),
        "sample batches",
    ),
    "whole batches in or out": (
        in_torch_private(
            "poisson_batch",
            lambda sound, n, rate, w: np.arange(n)[: n * int(w(1)[0] < rate * 2.0**64)],
        ),
        "sample batches",
    ),
    "clip a little too long": (samples_clipped_to(1.1), "sample clip"),
    "a step less in the account": (steps_left_out_of_the_account, "sample account"),
}


@pytest.mark.parametrize("fault", SAMPLE_FAULTS)
def test_a_fault_in_training_with_noise_is_found(fault, monkeypatch):
    put_in, name = SAMPLE_FAULTS[fault]
    put_in(monkeypatch)
    size = {} if "tenth" in fault else {"num_rounds": 2, "samples": 256}
    assert name in failed(audit_samples(LOCAL, **size))


def test_what_is_not_private_is_not_audited():
    with pytest.raises(ValueError, match=r"fedavg is not private.*dp_fedavg"):
        audit(fedavg())


def test_the_picture_is_drawn(tmp_path: Path):
    file = tmp_path / "audit.png"
    draw(audit(SOUND, num_rounds=2, dimension=256), file)
    assert file.read_bytes().startswith(b"\x89PNG")
