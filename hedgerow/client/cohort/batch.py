"""Clients of one group trained side by side, each in a slot of its own.

When a client has done its steps, the next one takes over its slot, so that all
slots work until no client waits. Then the batch grows narrower.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hedgerow.client.cohort.graph import BatchedModule
from hedgerow.client.cohort.losses import Losses
from hedgerow.client.cohort.samples import ClippedSamples
from hedgerow.client.cohort.schedule import Group, batches
from hedgerow.client.cohort.stack import Room, Stack
from hedgerow.client.cohort.step import Fused, Step
from hedgerow.rng import generator, integer_seed
from hedgerow.types import Fit, Layout, LocalTraining, Model, Samples, Vector


@dataclass(frozen=True)
class Work:
    """What all clients of a round have in common, and the correction of each, if there are any."""

    module: BatchedModule
    losses: Losses
    layout: Layout
    model: Model
    local: LocalTraining
    seed: int
    round: int
    device: torch.device
    room: Room
    corrections: Mapping[str, Vector] | None = None


@dataclass
class _Client:
    """A client on its way through its batches."""

    name: str
    data: Samples
    batches: Iterator[NDArray[np.int64]]
    steps_left: int
    dropout: torch.Generator | None


class Batch:
    """Trains the clients of one group, at most `at_once` at a time.

    Args:
        work: what they have in common.
        group: the clients.
        at_once: slots.
        narrowest: fewest slots that compute the same bits as `at_once` do;
            those that belong to no client compute what nobody reads.
    """

    def __init__(self, work: Work, group: Group, at_once: int, narrowest: int) -> None:
        self._work, self._rows, self._narrowest = work, group.rows, narrowest
        self._waiting = list(reversed(group.clients))
        self._slots: list[_Client] = []
        copies = max(min(at_once, len(group.clients)), narrowest)
        local, learning_rate = work.local, work.local.learning_rate_at(work.round)
        self._stack = Stack(
            work.room, work.layout, work.model, copies, local, learning_rate, work.device,
            corrected=work.corrections is not None,
        )  # fmt: skip
        self._clipped: ClippedSamples | None = None
        if local.clip_samples:
            self._clipped = ClippedSamples(
                work.module, work.losses, work.layout, work.room, local.clip_samples
            )
        self._totals = torch.zeros(copies, dtype=torch.float64, device=work.device)
        self._fuse = work.module.fusable if self._stack.plain else frozenset()
        self._fused = Fused(learning_rate, self._stack.keep)
        for slot in range(copies):
            if self._waiting:
                self._slots.append(self._next(slot))
            else:
                self._stack.reset(slot)

    @property
    def clients(self) -> list[tuple[str, Samples]]:
        """Those that are in the slots, not done yet."""
        return [(c.name, c.data) for c in self._slots]

    @property
    def waiting(self) -> Sequence[tuple[str, Samples]]:
        """Those that have not begun."""
        return tuple(reversed(self._waiting))

    def collect(self) -> Iterator[tuple[str, Fit]]:
        """The results of the clients that are done; their slots are given away as each is taken."""
        for slot in reversed(range(len(self._slots))):
            client = self._slots[slot]
            if client.steps_left:
                continue
            fit = self._result(slot)
            if self._waiting:
                self._slots[slot] = self._next(slot)
            else:
                self._close(slot)
            yield client.name, fit

    def _close(self, slot: int) -> None:
        """Give up a slot, and put the last one in its place."""
        last = self._slots.pop()
        end = len(self._slots)
        if slot < end:
            self._slots[slot] = last
            self._stack.move(end, slot)
            self._totals[slot] = self._totals[end]
        # What is left where no client is must stay finite: it is computed with.
        self._stack.reset(end)

    def _next(self, slot: int) -> _Client:
        name, data = self._waiting.pop()
        work = self._work
        self._stack.reset(slot, None if work.corrections is None else work.corrections[name])
        self._totals[slot] = 0
        shuffle = generator(work.seed, "shuffle", round=work.round, client=name)
        dropout = None
        if work.module.draws:
            dropout = torch.Generator(work.device)
            dropout.manual_seed(integer_seed(work.seed, "dropout", round=work.round, client=name))
        order = batches(len(data), work.local, shuffle)
        return _Client(name, data, order, work.local.steps(len(data)), dropout)

    def _result(self, slot: int) -> Fit:
        samples = len(self._slots[slot].data)
        loss = self._totals[slot].item() / (self._work.local.epochs * samples)
        delta, buffers = self._stack.results(slot)
        return Fit(delta, buffers, samples, {"loss": loss})

    def step(self) -> None:
        """One step of every slot."""
        width = max(len(self._slots), self._narrowest)
        x, y, samples = self._inputs(width)
        generators = [c.dropout for c in self._slots] + [None] * (width - len(self._slots))
        gradients: Mapping[str, Tensor | None]
        if self._clipped is None:
            losses, gradients = self._gradients(x, y, samples, generators)
        else:
            losses, gradients = self._clipped(self._stack, x, y, samples, generators)
        with torch.no_grad():
            self._stack.step(gradients, width)
            counts = torch.tensor(samples, dtype=torch.float64, device=losses.device)
            self._totals[:width].add_(losses.detach().double() * counts)
        for client in self._slots:
            client.steps_left -= 1

    def _gradients(
        self, x: Tensor, y: Tensor, samples: Sequence[int], generators: Sequence[torch.Generator | None]
    ) -> tuple[Tensor, Mapping[str, Tensor | None]]:
        """Each slot's loss, and the gradients of those parameters that are not changed on the way."""
        width = len(samples)
        # `data`, unlike `detach`, lets autograd count the changes of each tensor apart from the others'.
        parameters = {n: view.data.requires_grad_() for n, view in self._stack.parameters(width).items()}
        tensors = {**parameters, **self._stack.buffers(width)}
        step = Step(tensors, samples, self._rows, generators, self._fused, self._fuse)
        losses = self._work.losses(step, self._work.module(step, x), y)
        learned = {n: p for n, p in parameters.items() if n not in self._fuse}
        # The layers of `fuse` change their parameters on the way, if there is a gradient to find.
        inputs = list(learned.values()) or list(parameters.values())
        found = torch.autograd.grad(losses.sum(), inputs, allow_unused=True)
        return losses, dict(zip(learned, found, strict=False))

    def _inputs(self, width: int) -> tuple[Tensor, Tensor, list[int]]:
        """The next batch of each slot, filled up to the same number of rows."""
        first = self._slots[0].data
        x, y = self._room("x", width, first.x), self._room("y", width, first.y)
        samples = [0] * width
        for slot, client in enumerate(self._slots):
            index = next(client.batches)
            samples[slot] = len(index)
            if len(index) < self._rows:
                # With a sample of its own: what is computed from it is finite if the rest is.
                index = np.concatenate([index, np.repeat(index[:1], self._rows - len(index))])
            if x[slot].flags.c_contiguous:
                np.take(client.data.x, index, axis=0, out=x[slot], mode="clip")
            else:
                x[slot] = client.data.x[index]
            y[slot] = client.data.y[index]
        for slot in range(len(self._slots), width):
            x[slot], y[slot] = x[0], y[0]
        device = self._work.device
        return torch.from_numpy(x).to(device), torch.from_numpy(y).to(device), samples

    def _room(self, key: str, width: int, like: NDArray[Any]) -> NDArray[Any]:
        """An array for a batch; for images with (rows, height, width, clients, channels) in memory."""
        dtype = torch.from_numpy(np.empty(0, like.dtype)).dtype
        work, sample = self._work, like.shape[1:]
        if work.module.images and len(sample) > 1 and dtype.is_floating_point:
            shape = (self._rows, *sample[1:], width, sample[0])
            room = work.room.take(key, shape, dtype, torch.device("cpu")).numpy()
            return np.moveaxis(room, (-2, 0, -1), (0, 1, 2))
        return work.room.take(key, (width, self._rows, *sample), dtype, torch.device("cpu")).numpy()


def finite(fit: Fit) -> bool:
    """Whether training did not diverge."""
    arrays = (fit.delta, fit.buffers)
    return bool(np.isfinite(fit.metrics["loss"]) and all(np.isfinite(a).all() for a in arrays))
