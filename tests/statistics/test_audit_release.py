"""The audit finds each fault that is put into the server's release: clip, noise, ledger and account."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hedgerow import rng
from hedgerow.experiments.audit.clients import audit
from hedgerow.experiments.audit.report import described
from hedgerow.privacy import ledger as ledger_module
from hedgerow.privacy.ledger import Ledger
from hedgerow.server.private import Released
from hedgerow.strategies import (
    dp_fedavg,
    poisson,
)
from hedgerow.strategies import release as release_module
from hedgerow.strategies.norms import clipped
from hedgerow.strategies.release import UNIT, Noise, NoisyAggregation
from tests.statistics.audit_cases import SAMPLING, SMALL, SOUND, Patch, failed, noise_times

pytestmark = pytest.mark.usefixtures("each_epsilon_is_computed_once")

QUIET = dp_fedavg(0.5, 0.005, 1e-3, sampling=SAMPLING)
"""With little noise, a few clients tell by how much each moves the sum."""

LARGE = {"num_rounds": 20, "dimension": 1024}
"""A tenth of the noise is 8 standard errors."""


def contribution(change: Callable[[NoisyAggregation, np.ndarray, float], np.ndarray]) -> Patch:
    """A fault in what the server adds to the sum; the clients do not clip either."""

    def put_in(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(NoisyAggregation, "contribution", change)

    return put_in


def no_clip(self: NoisyAggregation, delta: np.ndarray, norm: float) -> np.ndarray:
    return delta


def weights_after_the_clip(self: NoisyAggregation, delta: np.ndarray, norm: float) -> np.ndarray:
    return np.float32(3.0) * clipped(delta, norm)


def clip_of_each_half(self: NoisyAggregation, delta: np.ndarray, norm: float) -> np.ndarray:
    half = len(delta) // 2
    return np.concatenate([clipped(delta[:half], norm), clipped(delta[half:], norm)])


def clip_to_twice_the_norm(self: NoisyAggregation, delta: np.ndarray, norm: float) -> np.ndarray:
    return clipped(delta, 2 * norm)


def clip_after_the_sum(patch: pytest.MonkeyPatch) -> None:
    sound = NoisyAggregation.__call__

    def bounded_total(self, total, state, source):
        norm = self.server_clip.norm(state) * self.expected
        values = clipped((total * UNIT).astype(np.float32), norm)
        return sound(self, np.rint(values / UNIT).astype(np.int64), state, source)

    patch.setattr(NoisyAggregation, "contribution", no_clip)
    patch.setattr(NoisyAggregation, "__call__", bounded_total)


def noise_in_the_first_round_only(patch: pytest.MonkeyPatch) -> None:
    sound, calls = release_module.discrete_gaussian, []

    def once(sigma, n, source):
        calls.append(n)
        return sound(sigma, n, source) if len(calls) == 1 else np.zeros(n, np.int64)

    patch.setattr(release_module, "discrete_gaussian", once)


def noise_on_half_of_the_values(patch: pytest.MonkeyPatch) -> None:
    sound = release_module.discrete_gaussian

    def half(sigma, n, source):
        drawn = sound(sigma, n, source)
        drawn[::2] = 0
        return drawn

    patch.setattr(release_module, "discrete_gaussian", half)


def constant_words(n: int) -> np.ndarray:
    return rng.seeded_source(0, "test")(n)


def the_same_noise_in_every_round(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rng, "system_source", constant_words)


def one_stream_for_two_rounds(patch: pytest.MonkeyPatch) -> None:
    sound = NoisyAggregation.__call__

    def reused(self, total, state, source):
        drawn = len(drawn_before)
        drawn_before.append(drawn)
        return sound(self, total, state, rng.seeded_source(own + drawn // 2, "test"))

    drawn_before: list[int] = []
    own = rng.secret_seed()
    patch.setattr(NoisyAggregation, "__call__", reused)


def noise_from_the_runs_seed(patch: pytest.MonkeyPatch) -> None:
    sound = Released.aggregated

    def aggregated(self, state):
        source = rng.seeded_source(self.rounds.seed, "noise", round=state.round)
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(rng, "system_source", source)
            return sound(self, state)

    patch.setattr(Released, "aggregated", aggregated)


def noise_left_out_where_it_is_not_seeded(patch: pytest.MonkeyPatch) -> None:
    sound = release_module.discrete_gaussian
    patch.setattr(
        release_module,
        "discrete_gaussian",
        lambda sigma, n, source: (
            np.zeros(n, np.int64) if source is rng.system_source else sound(sigma, n, source)
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
