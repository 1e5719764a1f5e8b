"""A private strategy that is sound, what an audit of it failed in, and a fault that is put in."""

from collections.abc import Callable

import pytest

from hedgerow.experiments.audit.clients import Audit
from hedgerow.strategies import (
    dp_fedavg,
    poisson,
)
from hedgerow.strategies.release import Noise

SAMPLING = poisson(12, population=60)

SOUND = dp_fedavg(0.5, 1.0, 1e-3, sampling=SAMPLING)

SMALL = {"num_rounds": 8, "dimension": 512}


def failed(heard: Audit) -> list[str]:
    return [finding.name for finding in heard.findings if not finding.holds]


Patch = Callable[[pytest.MonkeyPatch], None]


def noise_times(factor: float) -> Patch:
    def put_in(patch: pytest.MonkeyPatch) -> None:
        sound = Noise.sigma
        patch.setattr(Noise, "sigma", lambda self, reach, n: max(1, int(factor * sound(self, reach, n))))

    return put_in
