"""What the layers of several models side by side share in one step."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor


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
    """Whatever torch says about a model that it cannot batch becomes a `CannotBatch`."""
    try:
        yield
    except CannotBatch:
        raise
    except Exception as error:
        first = (str(error).strip() or "no reason given").splitlines()[0]
        raise CannotBatch(f"{type(error).__name__}: {first}") from error


@dataclass(frozen=True)
class Fused:
    """An update that a layer makes itself in its backward pass: `w = keep * w - learning_rate * g`."""

    learning_rate: float
    keep: float


@dataclass(frozen=True)
class Step:
    """One step of several clients.

    Attributes:
        tensors: parameters and buffers by name, `(clients, *shape)` each.
        samples: how many rows of each client's batch are samples, not filling.
        rows: of every batch.
        generators: of each client's dropout, in the same order; a row that
            belongs to no client has `None`.
        fused: the update of the parameters named in `fuse`.
        fuse: names of parameters that their layers update.
        first: the model's first layer, where it has no weights of its own here.
        wide: layers that have no weights of their own here, by the name of their weight.
        drawn: where each row of a batch stands here as a client of its own, the
            samples of each client that has a generator; else `None`.
    """

    tensors: Mapping[str, Tensor]
    samples: Sequence[int]
    rows: int
    generators: Sequence[torch.Generator | None]
    fused: Fused | None = None
    fuse: frozenset[str] = frozenset()
    first: Any = None
    wide: Mapping[str, Any] = field(default_factory=dict)
    drawn: Sequence[int] | None = None

    @cached_property
    def counts(self) -> Tensor:
        """`samples`, as float32."""
        device = next(iter(self.tensors.values())).device
        return torch.tensor(self.samples, dtype=torch.float32, device=device)

    @property
    def full(self) -> bool:
        """Whether every row of every batch is a sample."""
        return min(self.samples) == self.rows

    def mask(self) -> Tensor:
        """1 for a sample and 0 for filling, `(clients, rows)`."""
        index = torch.arange(self.rows, device=self.counts.device)
        return (index < self.counts[:, None]).float()
