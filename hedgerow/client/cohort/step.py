"""The data that layers share in one step of several models side by side."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from hedgerow.client.draws import Axis, Draws, axis_of


class CannotBatch(ValueError):
    """A model that cannot be computed for many clients at once; the message says why."""


class SharedDraws(CannotBatch):
    """A model or loss that draws from a global generator, which all clients of a batch would share."""

    def __init__(self) -> None:
        super().__init__(
            "the model or its loss draws from a global generator (numpy's, Python's random or torch's)"
            " what the clients of a batch would share"
        )


@contextmanager
def explained() -> Iterator[None]:
    """Turn torch's errors about a model that it cannot batch into `CannotBatch`."""
    try:
        yield
    except CannotBatch:
        raise
    except Exception as error:
        first = (str(error).strip() or "no reason given").splitlines()[0]
        raise CannotBatch(f"{type(error).__name__}: {first}") from error


@dataclass(frozen=True)
class Fused:
    """An update that a layer applies itself in its backward pass: `w = keep * w - learning_rate * g`."""

    learning_rate: float
    keep: float


@dataclass(frozen=True)
class Step:
    """One step of several clients.

    Attributes:
        tensors: parameters and buffers by name, `(clients, *shape)` each.
        samples: how many rows of each client's batch are samples, not padding.
        rows: in every batch.
        draws: each client's dropout, in the same order; `None` for a slot without a client.
        fused: the update of the parameters named in `fuse`.
        fuse: names of parameters that their layers update.
        first: the model's first layer, if it is trained without weights.
        wide: layers that are trained without weights, by the name of their weight.
        drawn: if each row of a batch is a separate client here, the number of
            samples of each client that has draws; else `None`.
        axes: where a client's draws have its samples, as far as it is known.
    """

    tensors: Mapping[str, Tensor]
    samples: Sequence[int]
    rows: int
    draws: Sequence[Draws | None]
    fused: Fused | None = None
    fuse: frozenset[str] = frozenset()
    first: Any = None
    wide: Mapping[str, Any] = field(default_factory=dict)
    drawn: Sequence[int] | None = None
    axes: Sequence[Axis] = ()
    _places: Iterator[int] = field(default_factory=itertools.count)

    @cached_property
    def counts(self) -> Tensor:
        """`samples`, as float32."""
        device = next(iter(self.tensors.values())).device
        return torch.tensor(self.samples, dtype=torch.float32, device=device)

    @property
    def full(self) -> bool:
        """Whether every row of every batch is a sample."""
        return min(self.samples) == self.rows

    def axis(self, shape: Sequence[int]) -> Axis:
        """The dimension of the samples in the step's next draw, which has this shape for one client."""
        place = next(self._places)
        return 0 if self.drawn is not None else axis_of(self.axes, place, shape, self.rows)

    def mask(self) -> Tensor:
        """1 for a sample and 0 for padding, `(clients, rows)`."""
        index = torch.arange(self.rows, device=self.counts.device)
        return (index < self.counts[:, None]).float()
