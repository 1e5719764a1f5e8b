"""Frozen data that every room shares. numpy only.

A `Model` is what is learned, flattened: one vector of trainable parameters and
one of floating-point buffers (BatchNorm statistics). A `Layout` says which
tensor lies where. A `Payload` is what a client sends.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from hedgerow import checks

Vector: TypeAlias = NDArray[np.float32]
"""All values of a model of one kind, `(d,) float32`, in `Layout` order."""

Arrays: TypeAlias = Mapping[str, NDArray[Any]]


class PayloadError(ValueError):
    """A payload that does not fit what was asked for; its sender is dropped and named."""


@dataclass(frozen=True)
class Tensor:
    """Name and shape of one tensor of a model."""

    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Layout:
    """Which tensor lies where in a model's vectors.

    `parameters` are the trainable tensors, each once even where a model ties
    two names to one tensor. `buffers` are the floating-point
    buffers and the frozen parameters. Integer buffers (BatchNorm's batch
    counter) are in neither: they are never sent.
    """

    parameters: tuple[Tensor, ...]
    buffers: tuple[Tensor, ...] = ()

    @cached_property
    def dimension(self) -> int:
        """Number of trainable values, `d`."""
        return sum(t.size for t in self.parameters)

    @cached_property
    def buffer_size(self) -> int:
        """Number of buffer values, `b`."""
        return sum(t.size for t in self.buffers)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that two layouts share only if they are equal."""
        text = repr([(t.name, t.shape) for t in (*self.parameters, None, *self.buffers) if t is not None])
        return hashlib.blake2b(f"{len(self.parameters)} {text}".encode(), digest_size=8).hexdigest()

    def slices(self) -> tuple[slice, ...]:
        """Where each parameter tensor lies in the vector, in order."""
        ends = np.cumsum([0, *(t.size for t in self.parameters)]).tolist()
        return tuple(slice(a, b) for a, b in pairwise(ends))

    @classmethod
    def flat(cls, dimension: int) -> "Layout":
        """A layout of one tensor, for a vector without structure.

        >>> Layout.flat(3).dimension
        3
        """
        return cls((Tensor("vector", (dimension,)),))


@dataclass(frozen=True)
class Model:
    """The values of a model.

    Attributes:
        parameters: `(d,) float32`.
        buffers: `(b,) float32`, empty for most models.
    """

    parameters: Vector
    buffers: Vector = field(default_factory=lambda: np.empty(0, np.float32))


@dataclass(frozen=True)
class Samples:
    """Labelled samples.

    Attributes:
        x: `(n, ...)`; float32 for images and series, int64 for characters.
        y: `(n,) int64`, the class of each sample.
    """

    x: NDArray[Any]
    y: NDArray[Any]

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y):
            raise ValueError(
                f"x has {len(self.x)} rows and y has {len(self.y)}; they must have the same number"
            )

    def __len__(self) -> int:
        return len(self.y)

    def take(self, index: NDArray[Any]) -> "Samples":
        """The samples at these positions."""
        return Samples(self.x[index], self.y[index])


@dataclass(frozen=True)
class ClientNames(Sequence[str]):
    """Stable names of numbered clients, made when they are looked up.

    They are padded with zeros to one length, and so in sorted order.

    >>> names = ClientNames(1_000_000)
    >>> names[7], names.index("client-000123")
    ('client-000007', 123)
    """

    number: int

    def __len__(self) -> int:
        return self.number

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[str, ...]: ...
    def __getitem__(self, place: int | slice) -> str | tuple[str, ...]:
        if isinstance(place, slice):
            return tuple(self._name(i) for i in range(self.number)[place])
        return self._name(range(self.number)[place])

    def index(self, name: Any, start: int = 0, stop: int | None = None) -> int:
        """The client's number; raises `ValueError` where there is no such client."""
        digits = str(name).removeprefix("client-")
        place = int(digits) if digits.isdecimal() and digits.isascii() else -1
        if place not in range(self.number)[start:stop] or self._name(place) != name:
            raise ValueError(f"there is no client {name!r}; there are {self.number}, from {self[0]!r} on")
        return place

    def __contains__(self, name: object) -> bool:
        try:
            self.index(name)
        except ValueError:
            return False
        return True

    def _name(self, number: int) -> str:
        return f"client-{number:0{max(4, len(str(self.number - 1)))}d}"


@dataclass(frozen=True)
class LocalTraining:
    """What a client does with its data in one round.

    Attributes:
        optimizer: `"sgd"` or `"adam"`.
        learning_rate: step size of the first round.
        learning_rate_decay: the step size of round `r` (from 1) is
            `learning_rate * learning_rate_decay ** (r - 1)`.
        epochs: passes over the client's data.
        batch_size: samples a step; the last batch of an epoch may be smaller.
            0 takes all of the client's data in one batch (`B = inf` in the
            FedAvg paper).
        momentum: of SGD, 0 for none.
        weight_decay: added to the gradient as `weight_decay * w`.
        proximal: FedProx's mu; adds `mu / 2 * |w - w_global|^2` to the loss
            (arXiv:1812.06127, equation 2).
        clip_gradient: largest l2 norm of a step's gradient, 0 for no clipping.
        clip_samples: largest l2 norm of one sample's gradient, 0 for no
            clipping; a step's gradient is the mean of the samples' clipped
            gradients (arXiv:1607.00133, algorithm 1, without its noise).
        sample_noise: standard deviation of the noise in a step's sum of
            clipped gradients, divided by `clip_samples`; 0 for none. With it
            all of algorithm 1 is done, and what a client sends is private with
            respect to each of its samples: a sample is in a step with
            probability `sample_rate`, the sum is divided by `batch_size`
            whatever the number of samples, and an epoch has
            `ceil(1 / sample_rate)` steps. Nothing of this depends on the data.
        sample_rate: probability of a sample to be in a step.
        sample_delta: of each client's own account, well below 1 / samples.
        sample_epsilon: a client takes no part in a round that would pass it;
            0 for no limit.
    """

    optimizer: str = "sgd"
    learning_rate: float = 0.1
    learning_rate_decay: float = 1.0
    epochs: int = 1
    batch_size: int = 10
    momentum: float = 0.0
    weight_decay: float = 0.0
    proximal: float = 0.0
    clip_gradient: float = 0.0
    clip_samples: float = 0.0
    sample_noise: float = 0.0
    sample_rate: float = 0.0
    sample_delta: float = 0.0
    sample_epsilon: float = 0.0

    def __post_init__(self) -> None:
        checks.one_of(["sgd", "adam"], optimizer=self.optimizer)
        checks.positive(learning_rate=self.learning_rate)
        checks.fraction(learning_rate_decay=self.learning_rate_decay)
        checks.whole(1, epochs=self.epochs)
        checks.whole(0, batch_size=self.batch_size)
        checks.probability(momentum=self.momentum)
        if self.momentum and self.optimizer == "adam":
            raise ValueError(
                f"momentum is {self.momentum}; adam has its own: leave it out, or take optimizer 'sgd'"
            )
        checks.not_negative(weight_decay=self.weight_decay, proximal=self.proximal)
        checks.not_negative(clip_gradient=self.clip_gradient, clip_samples=self.clip_samples)
        checks.not_negative(sample_noise=self.sample_noise, sample_epsilon=self.sample_epsilon)
        checks.not_negative(sample_rate=self.sample_rate, sample_delta=self.sample_delta)
        self._check_private()

    def _check_private(self) -> None:
        if self.sample_rate:
            checks.fraction(sample_rate=self.sample_rate)
        if self.sample_delta:
            checks.inside(sample_delta=self.sample_delta)
        if self.sample_noise:
            if not (self.clip_samples and self.sample_rate and self.sample_delta and self.batch_size):
                raise ValueError(
                    f"sample_noise is {self.sample_noise}; with it, clip_samples (such as 1.0), sample_rate,"
                    " sample_delta and batch_size must be above 0"
                )
            return
        for name in ("sample_rate", "sample_delta", "sample_epsilon"):
            if value := getattr(self, name):
                raise ValueError(f"{name} is {value}; it goes with sample_noise, which must then be above 0")

    def learning_rate_at(self, round: int) -> float:
        """Step size of a round, counted from 1."""
        return float(self.learning_rate * self.learning_rate_decay ** (round - 1))

    def steps(self, num_examples: int) -> int:
        """Steps in a round of a client with so many samples.

        >>> LocalTraining(epochs=2, batch_size=10).steps(25)
        6
        >>> LocalTraining(clip_samples=1, sample_noise=1, sample_rate=0.3, sample_delta=1e-5).steps(25)
        4
        """
        if self.sample_noise:
            return self.epochs * math.ceil(1 / self.sample_rate)
        return self.epochs * -(-num_examples // (self.batch_size or num_examples))


@dataclass(frozen=True)
class RoundContext:
    """What a step of the pipeline may know.

    Attributes:
        seed: seed of the run.
        round: round number, from 1.
        client: stable name of the client whose payload this is; empty while a
            sum over clients is decoded.
        layout: of the model.
        num_examples: samples the client trained on; 0 on the server.
        seeded_noise: noise that clients add follows from the seed: in a
            simulation only.
    """

    seed: int
    round: int
    client: str
    layout: Layout
    num_examples: int = 0
    seeded_noise: bool = False


@dataclass(frozen=True)
class Payload:
    """What is sent: named arrays, and the weight they count with.

    The array `"values"` is what the next step works on; other arrays are what
    earlier steps need in order to undo themselves.
    """

    arrays: Arrays
    weight: float = 1.0

    @property
    def values(self) -> NDArray[Any]:
        """The array that the next step works on."""
        return self.arrays["values"]

    def replace(self, values: NDArray[Any], **others: NDArray[Any]) -> "Payload":
        """A payload with new values, and with other arrays added."""
        return Payload({**self.arrays, "values": values, **others}, self.weight)


@dataclass(frozen=True)
class Fit:
    """What local training returns.

    Attributes:
        delta: `(d,) float32`, new parameters minus old.
        buffers: `(b,) float32`, the buffers after training.
        num_examples: samples trained on.
        metrics: finite numbers such as `{"loss": 0.31}`: means over the samples.
        finite: the trainer has looked whether all of this is finite, and it is.
    """

    delta: Vector
    buffers: Vector
    num_examples: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    finite: bool = False


@dataclass(frozen=True)
class ServerState:
    """All that the server carries from one round to the next.

    Attributes:
        round: rounds done.
        model: the global model.
        update: state of the server update (momenta), named float arrays.
        control: the server's control variate, `(d,) float32`; empty where the
            strategy has none.
        uncounted: `{client: round}`, for each client whose control variate was
            asked for and did not count: the first such round since one that did.
        private: state of a private strategy (an adaptive clip norm, noise to
            come), named arrays; empty where nothing is private.
    """

    round: int
    model: Model
    update: Arrays = field(default_factory=dict)
    control: Vector = field(default_factory=lambda: np.empty(0, np.float32))
    uncounted: Mapping[str, int] = field(default_factory=dict)
    private: Arrays = field(default_factory=dict)


@dataclass(frozen=True)
class RoundResult:
    """What happened in one round.

    Attributes:
        state: the server's state after the round.
        cohort: stable names of the clients that were asked, sorted.
        dropped: `{client: reason}` for each asked client that does not count.
        failed: why the round changed nothing, or an empty text.
        bytes_up: `{client: bytes}` of each reply that arrived, as serialised.
        bytes_down: `{client: bytes}` of each message sent, as serialised.
        metrics: means over the clients that count, weighted by examples;
            empty in a private round.
        evaluation: of the global model, on the server; empty when not asked for.
        seconds: wall time of the round, with evaluation.
        secure: how a masked sum was computed: `"masked"` by the whole protocol,
            `"unmasked"` where a simulation added the same numbers without
            masks; empty where no mask is in the pipeline.
        epsilon: what the run has revealed of any client so far, for the
            budget's delta; `None` where the strategy is not private.
    """

    state: ServerState
    cohort: tuple[str, ...]
    dropped: Mapping[str, str]
    failed: str
    bytes_up: Mapping[str, int]
    bytes_down: Mapping[str, int]
    metrics: Mapping[str, float]
    evaluation: Mapping[str, float]
    seconds: float
    secure: str = ""
    epsilon: float | None = None

    @property
    def round(self) -> int:
        """Number of the round, from 1."""
        return self.state.round
