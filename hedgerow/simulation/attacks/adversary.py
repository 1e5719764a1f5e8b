"""Simulated clients, some of them compromised: which ones, what they train on, and what they send."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self, final

import numpy as np

from hedgerow import checks, generators
from hedgerow.client.capabilities import alone
from hedgerow.client.data import AlikeEachTime, ClientData
from hedgerow.client.personal import PersonalLayers
from hedgerow.client.trainer import Trainer
from hedgerow.rng import generator, integer_seed
from hedgerow.simulation.attacks.base import Attack, Knowledge, Rows
from hedgerow.strategies.strategy import Strategy
from hedgerow.types import Fit, LocalTraining, Model, Samples
from hedgerow.wire.messages import TrainRequest


@dataclass(frozen=True)
class Adversary:
    """An attack, and the fraction of a run's clients that carry it out.

    Attributes:
        attack: what they do.
        clients: the fraction, rounded up to whole clients; the run's seed determines which ones.

    >>> from hedgerow.simulation.attacks.sign_flip import sign_flip
    >>> sorted(Adversary(sign_flip(), 0.4).among(["a", "b", "c", "d", "e"], seed=1))
    ['c', 'd']
    """

    attack: Attack
    clients: float

    def __post_init__(self) -> None:
        checks.probability(clients=self.clients)

    def among(self, names: Sequence[str], seed: int) -> frozenset[str]:
        """Names of the compromised clients."""
        number = math.ceil(self.clients * len(names) - 1e-9)
        drawn = generator(seed, "compromised clients").choice(len(names), number, replace=False)
        return frozenset(names[int(place)] for place in drawn)


@final
@dataclass(frozen=True)
class Compromised:
    """The clients of one run, some of them compromised: a `ClientData` that also changes what they send.

    Attributes:
        attack: what the compromised clients do.
        who: names of the compromised clients.
        trainer: of all clients.
        data: of all clients, before the attack.
        local: how clients train.
        layers: personal layers of the clients; the adversary trains with the initial ones.
    """

    attack: Attack
    who: frozenset[str]
    trainer: Trainer
    data: ClientData
    local: LocalTraining
    layers: PersonalLayers
    _honest: dict[tuple[int, int], Rows] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(
        cls,
        adversary: Adversary,
        trainer: Trainer,
        data: ClientData,
        strategy: Strategy,
        initial: Model | None,
        seed: int,
    ) -> Self:
        """The clients of a run with this seed; personal layers start from the initial model's."""
        who, layers = adversary.among(data.names, seed), PersonalLayers(trainer, strategy, initial)
        return cls(adversary.attack, who, trainer, data, strategy.local, layers)

    @property
    def names(self) -> Sequence[str]:
        """Stable names of all clients."""
        return self.data.names

    def samples(self, name: str) -> Samples:
        """What a client trains on."""
        samples = self.data.samples(name)
        return self.attack.samples(samples) if name in self.who else samples

    def sent(self, request: TrainRequest, name: str, fit: Fit) -> Fit:
        """What a client sends instead of what it has learned."""
        if name not in self.who:
            return fit
        random = generator(request.seed, "attack", round=request.round, client=name)
        known = Knowledge(fit.delta, random, lambda most: self._learned(request, most))
        # The encoder has to check whether the delta is finite.
        return replace(fit, delta=self.attack.delta(known), finite=False)

    def _learned(self, request: TrainRequest, most: int) -> Rows:
        """Honest deltas of this round, cached because all its compromised clients ask for the same ones."""
        key = (request.round, most)
        if key not in self._honest:
            self._honest.clear()
            deltas = [self._fit(request, name).delta for name in sorted(self.who)[:most]]
            self._honest[key] = np.stack(deltas)
        return self._honest[key]

    def _fit(self, request: TrainRequest, name: str) -> Fit:
        place: dict[str, Any] = {"round": request.round, "client": name}
        # Noise that cannot be reproduced would differ between processes; a client's state is not changed.
        more = alone(self.trainer, self.local)
        with generators.undisturbed():
            samples = AlikeEachTime(self.data).samples(name)
            generators.seed(integer_seed(request.seed, "train", **place))
            model = self.layers.whole(request.model, {}, request.seed)
            fit = self.trainer.fit(model, samples, self.local, seed=request.seed, **place, **more)
            return self.layers.split.shared_fit(fit)
