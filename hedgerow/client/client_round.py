"""One client's round: its inputs, the budget it spends, what it sends and what it keeps."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias, final

import numpy as np

from hedgerow import generators
from hedgerow.client import account
from hedgerow.client.capabilities import require, supported, trains_many
from hedgerow.client.data import client_samples
from hedgerow.client.pace import CLOCK, PACE, Pace, Place, StepTimes
from hedgerow.client.personal import PersonalLayers
from hedgerow.client.secure.enrolment import Enrolment
from hedgerow.client.state import ClientState, State, StateStore
from hedgerow.client.trainer import Trainer, TrainsMany
from hedgerow.ring.vector import RingVector, Shape
from hedgerow.rng import integer_seed
from hedgerow.spans import span
from hedgerow.strategies.pipeline.coding import encode
from hedgerow.strategies.strategy import Strategy
from hedgerow.strategies.streams import Before, LocalRound, Stream
from hedgerow.strategies.transforms.mask import to_ring
from hedgerow.types import Arrays, Client, Fit, Model, Payload, RoundContext, Samples, Vector
from hedgerow.types.training import Diverged
from hedgerow.wire.messages import TrainRequest
from hedgerow.wire.replies import Reply

log = logging.getLogger("hedgerow")

_NONE: Vector = np.empty(0, np.float32)

PIPELINE = "pipeline"
"""The part of a client's state that belongs to its pipeline, such as a residual."""

TRAINER = "trainer"
"""The part that belongs to a trainer that declares `"state"`."""

Sent: TypeAlias = Callable[[TrainRequest, str, Fit], Fit]
"""`(request, client name, what it has learned) -> what it sends`."""


def honest(request: TrainRequest, client: str, fit: Fit) -> Fit:
    """Send what was learned."""
    return fit


@final
@dataclass(frozen=True)
class ClientConfig:
    """The configuration that all clients share in every round.

    Attributes:
        strategy: the same as the server's.
        trainer: used by every client.
        seeded_noise: whether clients' noise is derived from the run's seed; in a simulation only.
        unmasked: whether a masking pipeline may be summed without masks; in a simulation only.
        sent: what clients send; in a simulated attack, not what they have learned.
        initial: the model from which personal layers start; `None` for the one that the trainer makes.
        step_times: tells how long a step takes, for a time budget.

    Raises:
        ValueError: the trainer does not support what the strategy needs.
    """

    strategy: Strategy
    trainer: Trainer
    seeded_noise: bool = False
    unmasked: bool = False
    sent: Sent = honest
    initial: Model | None = None
    step_times: StepTimes = CLOCK

    def __post_init__(self) -> None:
        require(self.trainer, self.strategy)

    @cached_property
    def keeps_training(self) -> bool:
        """Whether the trainer keeps client state from round to round."""
        return "state" in supported(self.trainer)

    @cached_property
    def many(self) -> TrainsMany | None:
        """The trainer, if it can train several clients at once."""
        return self.trainer if trains_many(self.trainer) else None

    @cached_property
    def hides_failures(self) -> bool:
        """Whether clients must hide failures, because they add noise that would not hide a missing update."""
        noise = self.strategy.pipeline.protection.noise
        return noise is not None and noise.min_honest > 0

    @cached_property
    def layers(self) -> PersonalLayers:
        """The clients' personal layers, and the layout of what is sent."""
        return PersonalLayers(self.trainer, self.strategy, self.initial)

    @cached_property
    def streams(self) -> list[tuple[Stream, int]]:
        """The streams sent beside a delta, each with the number of values that a client sends."""
        return [(stream, stream.size(self.layers.layout)) for stream in self.strategy.all_streams]

    @cached_property
    def corrections(self) -> list[tuple[str, Callable[[Before], Vector]]]:
        """The streams that correct a client's gradients: name and correction."""
        return [(s.name, s.correction) for s in self.strategy.streams if s.correction is not None]


@final
@dataclass(frozen=True)
class LocalClient:
    """One client: who it is, what it has, and where it keeps what it needs later.

    Attributes:
        name: stable name.
        samples: loads its samples.
        store: where it keeps its state.
        account: file of the account of its samples, if it trains with sample noise.
        enrolment: returns its identity; only for a strategy that masks.
        held_out: loads the samples on which it evaluates models; `None` if it evaluates none.
    """

    name: str
    samples: Callable[[], Samples]
    store: StateStore
    account: Path | None = None
    enrolment: Callable[[], Enrolment] | None = None
    held_out: Callable[[], Samples] | None = None


@final
@dataclass(frozen=True)
class ClientRound:
    """One client in one round."""

    config: ClientConfig
    here: LocalClient
    request: TrainRequest

    @property
    def client(self) -> str:
        """Its stable name."""
        return self.here.name

    def samples(self) -> Samples:
        """The client's samples; raises `ValueError` if it has none."""
        return client_samples(self.here.name, self.here.samples)

    def correction(self) -> dict[str, Vector]:
        """The trainer's argument `correction`, if a stream corrects the gradients."""
        if not self.config.corrections:
            return {}
        found = [
            correction(
                Before(
                    self.request.streams.get(name, _NONE),
                    self._before.get(name, {}),
                    self.config.layers.layout,
                    self.request.uncounted.get(self.client, 0),
                )
            )
            for name, correction in self.config.corrections
        ]
        return {"correction": self.config.layers.spread(sum(found[1:], start=found[0]))}

    def fit(self, samples: Samples, correction: Mapping[str, Vector]) -> Fit:
        """Train, within the client's budget if it has one.

        Raises:
            BudgetSpent: one more round would exceed it.
            ValueError: the trainer cannot train.
        """
        request, local = self.request, self.config.strategy.local
        options: dict[str, Any] = dict(correction)
        if self.config.keeps_training:
            options["state"] = self._before.get(TRAINER, {})
        own = self._spend() if local.sample_noise else None
        if own is not None:
            options["seeded_noise"] = self.config.seeded_noise
        layers = self.config.layers
        model = layers.whole(request.model, self._before if layers.split.personal else {}, request.seed)

        def train(most: int) -> Fit:
            if self.config.seeded_noise:  # for a trainer that draws from the global generators
                generators.seed(integer_seed(request.seed, "train", round=request.round, client=self.client))
            return self.config.trainer.fit(
                model, samples, local.at_most(most),
                seed=request.seed, round=request.round, client=self.client, **options,
            )  # fmt: skip

        with span("train"):
            fit = self.pace.trained(len(samples), train) if local.time_budget else train(0)
        if own is not None and self.config.seeded_noise:
            own.record(request.round, fit)
        return fit

    def masked_fit(self) -> Fit:
        """The fit to be masked; raises as `fit` does."""
        return self.hidden(lambda: self.fit(self.samples(), {}))

    def hidden(self, train: Callable[[], Fit]) -> Fit:
        """The result of training; if clients add noise, a result that is not finite counts as zero change.

        Whoever chooses the model can make it diverge on samples of its choice,
        and no noise would hide that a client has failed.

        Args:
            train: returns the fit, or raises.
        """
        if not self.config.hides_failures:
            return train()
        try:
            fit = train()
            if not fit.finite and not np.isfinite(fit.delta).all():
                raise Diverged(f"client {self.client!r}: its update is not finite")
        except Diverged as error:
            log.error("%s; it counts as nothing learned", error)
            return Fit(np.zeros(self.config.trainer.layout.dimension, np.float32), _NONE, 1)
        return fit

    def reply(self, fit: Fit) -> Reply:
        """The reply for a fit; saves the client's state."""
        payload, _, streams = self._encode(fit)
        return Reply(payload, streams, fit.num_examples, fit.metrics)

    def in_ring(self, fit: Fit, shape: Shape) -> RingVector:
        """The vector to be masked for a fit, in the cohort's ring; saves the client's state."""
        payload, shared, sent = self._encode(fit)
        beside = [sent[stream.name] for stream in self.config.strategy.streams if stream.name in sent]
        return to_ring(
            payload, shared, shape, self.config.strategy.pipeline, np.concatenate([_NONE, *beside])
        )

    @cached_property
    def pace(self) -> Pace:
        """How many steps it takes in this round."""
        strategy, request = self.config.strategy, self.request
        before = self._before.get(PACE, {}) if strategy.keeps_pace else {}
        place = Place(request.seed, request.round, self.client)
        return Pace(self.config.step_times, strategy.local, place, before)

    @property
    def _kept(self) -> ClientState:
        return self.here.store.rounds

    @cached_property
    def _before(self) -> State:
        """The client's state from before this round; read once, and only if needed."""
        return self._kept.load(self.request.round)

    def _spend(self) -> account.Account:
        """The account, in which a real client's round is recorded before training."""
        return account.spend(
            self.client, self.config.strategy.local, self.request.round, self.here.account,
            lambda: self._before.get(account.STATE, {}), seeded=self.config.seeded_noise,
        )  # fmt: skip

    def _encode(self, fit: Fit) -> tuple[Payload, Fit, dict[str, Vector]]:
        """The encoded delta, the part of the fit that is sent, and each stream's values; saves the state."""
        strategy, request, layout = self.config.strategy, self.request, self.config.layers.layout
        with span("encode"):
            counted = strategy.local.sample_noise > 0 and self.here.account is None
            keeps_training = self.config.keeps_training
            stateful = strategy.stateful or counted or keeps_training
            before = self._before if stateful else {}
            shared, layers = self.config.layers.leave(fit, before, request.seed)
            fit = self.config.sent(request, self.here.name, shared)
            steps = fit.steps or strategy.local.steps(fit.num_examples)
            where = RoundContext(
                request.seed, request.round, Client(self.here.name), layout, fit.num_examples,
                self.config.seeded_noise, steps,
            )  # fmt: skip
            finite = fit.finite and fit is shared  # what is sent instead has to be checked
            kept = before.get(PIPELINE, {})
            payload, residuals = encode(strategy.pipeline, fit.delta, kept, where, finite=finite)
            sent: dict[str, Vector] = {}
            after: dict[str, Arrays] = {PIPELINE: residuals, **layers}
            for stream, size in self.config.streams:
                if not (size or stateful):
                    continue  # a model without buffers: nothing to send or keep
                local = LocalRound(
                    request.streams.get(stream.name, _NONE), before.get(stream.name, {}), fit, where, steps,
                    strategy.local.learning_rate_at(request.round), request.uncounted.get(self.here.name, 0),
                )  # fmt: skip
                values, after[stream.name] = stream.encode(local)
                if size:
                    sent[stream.name] = values
            if keeps_training:
                after[TRAINER] = fit.state
            if strategy.keeps_pace:
                after[PACE] = self.pace.kept
            if counted:
                after[account.STATE] = account.remember(before.get(account.STATE, {}), request.round)
            if stateful:
                self._kept.save(request.round, after)
        return payload, shared, sent
