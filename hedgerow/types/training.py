"""How a client trains on its data in a round, and the result."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import NoReturn, final

from hedgerow import checks
from hedgerow.types.model import Arrays, Vector

STEPS_TAKEN = "steps_taken"
"""The metric of a client with a time budget: its share of `LocalTraining.steps`, above 0 and at most 1."""


@checks.arguments
@dataclass(frozen=True)
class LocalTraining:
    """How a client trains on its data in one round.

    Attributes:
        optimizer: `"sgd"` or `"adam"`.
        learning_rate: step size of the first round.
        learning_rate_decay: the step size of round `r` (from 1) is
            `learning_rate * learning_rate_decay ** (r - 1)`.
        epochs: passes over the client's data.
        batch_size: samples in a step; the last batch of an epoch may be smaller.
            0 takes all of the client's data in one batch (`B = inf` in the
            FedAvg paper).
        max_steps: most steps of a client in a round, 0 for no limit; `epochs` limits them too.
        time_budget: seconds that a client trains in a round, 0 for no limit. Each client times its
            own steps and takes as many as fit: at least one, at most those of `epochs`
            (`hedgerow.client.pace`).
        momentum: of SGD, 0 for none.
        weight_decay: added to the gradient as `weight_decay * w`.
        proximal: FedProx's mu; adds `mu / 2 * |w - w_global|^2` to the loss
            (arXiv:1812.06127, equation 2).
        clip_gradient: largest l2 norm of a step's gradient, 0 for no clipping.
        clip_samples: largest l2 norm of one sample's gradient, 0 for no
            clipping; a step's gradient is the mean of the samples' clipped
            gradients (arXiv:1607.00133, algorithm 1, without its noise). By
            itself this does not bound what one sample changes: one more sample
            shifts what dropout draws for the others, and the mean's divisor.
        sample_gradients: what computes the gradients that `clip_samples` bounds:
            `"opacus"`, by its rules for single layers (`pip install
            "hedgerow[opacus]"`), `"hedgerow"`, which works for every model, or
            `"auto"`, Opacus if it is installed and faster for the model's
            layers. The bound and the noise are the same.
        sample_noise: standard deviation of the noise in a step's sum of
            clipped gradients, divided by `clip_samples`; 0 for none. With it, all
            of algorithm 1 is applied, and what a client sends is private with
            respect to each of its samples: a sample is in a step with
            probability `sample_rate`, the sum is divided by `batch_size`
            whatever the number of samples, and an epoch has
            `ceil(1 / sample_rate)` steps. None of this depends on the data.
        sample_rate: probability that a sample is in a step.
        sample_delta: of each client's own account, well below 1 / samples.
        sample_epsilon: a client takes no part in a round that would exceed it;
            0 for no limit.
        sample_adjacency: what a sample's epsilon covers: leaving the sample out
            (`"zero_out"`), or replacing it by another (`"replace"`).

    Raises:
        ValueError: one of them has the wrong type or is out of range, or they contradict each other.
    """

    optimizer: str = "sgd"
    learning_rate: float = 0.1
    learning_rate_decay: float = 1.0
    epochs: int = 1
    batch_size: int = 10
    max_steps: int = 0
    time_budget: float = 0.0
    momentum: float = 0.0
    weight_decay: float = 0.0
    proximal: float = 0.0
    clip_gradient: float = 0.0
    clip_samples: float = 0.0
    sample_gradients: str = "auto"
    sample_noise: float = 0.0
    sample_rate: float = 0.0
    sample_delta: float = 0.0
    sample_epsilon: float = 0.0
    sample_adjacency: str = "zero_out"

    def __post_init__(self) -> None:
        checks.one_of(["sgd", "adam"], optimizer=self.optimizer)
        checks.positive(learning_rate=self.learning_rate)
        checks.fraction(learning_rate_decay=self.learning_rate_decay)
        checks.whole(1, epochs=self.epochs)
        checks.whole(0, batch_size=self.batch_size, max_steps=self.max_steps)
        checks.not_negative(time_budget=self.time_budget)
        checks.probability(momentum=self.momentum)
        if self.momentum and self.optimizer == "adam":
            raise ValueError(
                f"momentum is {self.momentum}; adam has its own: leave it out, or take optimizer 'sgd'"
            )
        checks.not_negative(weight_decay=self.weight_decay, proximal=self.proximal)
        checks.not_negative(clip_gradient=self.clip_gradient, clip_samples=self.clip_samples)
        checks.not_negative(sample_noise=self.sample_noise, sample_epsilon=self.sample_epsilon)
        checks.not_negative(sample_rate=self.sample_rate, sample_delta=self.sample_delta)
        checks.one_of(["zero_out", "replace"], sample_adjacency=self.sample_adjacency)
        checks.one_of(["auto", "opacus", "hedgerow"], sample_gradients=self.sample_gradients)
        if self.sample_gradients != "auto" and not self.clip_samples:
            raise ValueError(
                f"sample_gradients is {self.sample_gradients!r}; it goes with clip_samples, which must then"
                " be above 0"
            )
        self._check_private()

    def _check_private(self) -> None:
        if self.sample_rate:
            checks.fraction(sample_rate=self.sample_rate)
        if self.sample_delta:
            checks.inside(sample_delta=self.sample_delta)
        if self.sample_noise:
            if self.time_budget:
                raise ValueError(
                    f"time_budget is {self.time_budget:g}; it must be 0, for no limit, with sample_noise: how"
                    " long a step takes tells how many samples were drawn for it; take max_steps"
                )
            if not (self.clip_samples and self.sample_rate and self.sample_delta and self.batch_size):
                raise ValueError(
                    f"sample_noise is {self.sample_noise}; with it, clip_samples (such as 1.0), sample_rate,"
                    " sample_delta and batch_size must be above 0"
                )
            return
        if self.sample_adjacency != "zero_out":
            raise ValueError(
                f"sample_adjacency is {self.sample_adjacency!r}; it goes with sample_noise, which must then"
                " be above 0"
            )
        for name in ("sample_rate", "sample_delta", "sample_epsilon"):
            if value := getattr(self, name):
                raise ValueError(f"{name} is {value}; it goes with sample_noise, which must then be above 0")

    @property
    def needs(self) -> frozenset[str]:
        """The names of what a trainer must support beyond plain SGD (see `hedgerow.client.trainer`).

        >>> sorted(LocalTraining(optimizer="adam", proximal=0.1).needs)
        ['adam', 'proximal']
        """
        choices = ("momentum", "weight_decay", "proximal", "clip_gradient", "clip_samples", "sample_noise")
        named = {self.optimizer, self.sample_gradients} & {"adam", "opacus"}
        fewer = {"max_steps"} if self.max_steps or self.time_budget else set()
        return frozenset(named | fewer | {name for name in choices if getattr(self, name)})

    @property
    def listed(self) -> str:
        """Its `repr`, without newer fields at their default: hashes that policies list stay what they were.

        >>> "max_steps" in LocalTraining().listed, "max_steps=3" in LocalTraining(max_steps=3).listed
        (False, True)
        """
        shown = {field.name: getattr(self, field.name) for field in fields(self)}
        for name in ("max_steps", "time_budget"):
            if not shown[name]:
                del shown[name]
        return f"LocalTraining({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    @property
    def traits(self) -> frozenset[str]:
        """Names for the conditions of a strategy's parts: the optimizer, and `needs`."""
        return self.needs | {self.optimizer}

    def learning_rate_at(self, round: int) -> float:
        """Step size of a round, counted from 1."""
        return float(self.learning_rate * self.learning_rate_decay ** (round - 1))

    def steps(self, num_examples: int) -> int:
        """Number of steps in a round of a client with `num_examples` samples.

        >>> LocalTraining(epochs=2, batch_size=10).steps(25)
        6
        >>> LocalTraining(clip_samples=1, sample_noise=1, sample_rate=0.3, sample_delta=1e-5).steps(25)
        4
        >>> LocalTraining(epochs=2, batch_size=10, max_steps=4).steps(25)
        4
        """
        if self.sample_noise:
            epoch = math.ceil(1 / self.sample_rate)
        else:
            epoch = -(-num_examples // (self.batch_size or num_examples))
        return min(self.epochs * epoch, self.max_steps) if self.max_steps else self.epochs * epoch

    def samples_seen(self, num_examples: int, steps: int = 0) -> int:
        """Number of samples in so many steps, each counted as often as it is seen; without `sample_noise`.

        Args:
            num_examples: of the client.
            steps: that it takes; 0 for all of `LocalTraining.steps`.

        >>> LocalTraining(epochs=2, batch_size=10, max_steps=4).samples_seen(25)
        35
        >>> LocalTraining(batch_size=10).samples_seen(25, steps=2)
        20
        """
        size = self.batch_size or num_examples
        epochs, more = divmod(steps or self.steps(num_examples), -(-num_examples // size))
        return epochs * num_examples + more * size

    def at_most(self, steps: int) -> "LocalTraining":
        """The same with at most this many steps in a round; 0 changes nothing.

        >>> LocalTraining(epochs=2).at_most(3).steps(25)
        3
        """
        return replace(self, max_steps=steps) if steps else self


class Diverged(ValueError):
    """Training ended with values that are not finite."""


@dataclass(frozen=True)
class Fit:
    """What local training returns.

    Attributes:
        delta: `(d,) float32`, new parameters minus old.
        buffers: `(b,) float32`, the buffers after training; constants are not among them.
        num_examples: samples that the client has to train on.
        metrics: finite numbers such as `{"loss": 0.31}`: means over the samples.
        finite: whether the trainer has checked that all of this is finite.
        state: what the client keeps for its next `fit`, by name; only from a trainer that declares `"state"`.
        sample_gradients: what computed the samples' clipped gradients, `"opacus"` or `"hedgerow"`;
            empty if none were clipped, or the trainer does not say.
        steps: local steps taken; 0 for all of `LocalTraining.steps`.
    """

    delta: Vector
    buffers: Vector
    num_examples: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    finite: bool = False
    state: Arrays = field(default_factory=dict)
    sample_gradients: str = ""
    steps: int = 0

    def or_raise(self) -> "Fit":
        """The fit itself, so that a `Fit` and a `FailedFit` can be handled alike."""
        return self


@final
@dataclass(frozen=True)
class FailedFit:
    """The reason why a client could not be trained, instead of a `Fit`.

    >>> FailedFit(ValueError("it has no samples")).or_raise()
    Traceback (most recent call last):
    ...
    ValueError: it has no samples
    """

    error: Exception

    def or_raise(self) -> NoReturn:
        """Raise the error."""
        raise self.error
