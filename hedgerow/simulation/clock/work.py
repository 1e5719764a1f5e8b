"""The work of a client's round: how many samples it sees, and how many operations that is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from hedgerow.types import LocalTraining


@final
@dataclass(frozen=True)
class Work:
    """What each client of a run computes in a round.

    Attributes:
        local: how they train.
        flops: float32 operations of training on one sample.
        samples: number of a client's samples.
    """

    local: LocalTraining
    flops: float
    samples: Callable[[str], int]

    def step_flops(self, client: str) -> float:
        """Operations of one step.

        >>> Work(LocalTraining(batch_size=10), 2.0, lambda client: 25).step_flops("a")
        20.0
        """
        samples = self.samples(client)
        if self.local.sample_noise:
            return self.flops * self.local.sample_rate * samples
        return self.flops * min(self.local.batch_size or samples, samples)

    def flops_of(self, client: str, step_seconds: float) -> float:
        """Operations of a round, with as many steps as fit into the time budget if there is one.

        Args:
            client: its name.
            step_seconds: how long its device takes for one step.

        >>> Work(LocalTraining(batch_size=10, epochs=2), 1.0, lambda client: 25).flops_of("a", 1.0)
        50.0
        """
        samples, local = self.samples(client), self.local
        if not samples:
            return 0.0
        most = local.steps(samples)
        if local.sample_noise:
            return most * self.step_flops(client)
        steps = most
        if local.time_budget:  # as `hedgerow.client.pace`, with a device whose steps all take as long
            steps = max(1, min(most, int(local.time_budget / max(step_seconds, 1e-9))))
        return self.flops * local.samples_seen(samples, steps)
