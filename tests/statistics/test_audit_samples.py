"""The audit finds each fault that is put into training with noise, and passes it without."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from hedgerow import LocalTraining, rng
from hedgerow.client.torch import private as torch_private
from hedgerow.client.torch import trainer as torch_trainer
from hedgerow.experiments.audit.samples import audit_samples
from hedgerow.privacy.ledger import Ledger
from tests.statistics.audit_cases import Patch, failed

pytestmark = pytest.mark.usefixtures("each_epsilon_is_computed_once")

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
    """Whoever computes the sum, we or Opacus's rules."""
    return in_torch_private(
        "private_gradients",
        lambda sound, total, *given: sound(lambda index: (factor * total(index)).astype(np.int64), *given),
    )


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
            "discrete_gaussian", lambda sound, s, n, w: sound(s, n, rng.seeded_source(0, "test"))
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
