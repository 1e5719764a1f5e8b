"""Clients of one group trained side by side, each in its own slot.

When a client has finished its steps, the next one takes its slot, so all slots
stay busy until no client is waiting. Then the batch gets narrower.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hedgerow.client.cohort.batch_order import Orders
from hedgerow.client.cohort.finite import is_finite, known
from hedgerow.client.cohort.graph.module import BatchedModule
from hedgerow.client.cohort.low_rank.first_layer import FirstLayer, FirstStep, GramMatrices
from hedgerow.client.cohort.low_rank.wide_layer import LowRankUpdates, WideLayer
from hedgerow.client.cohort.ops.losses import Losses
from hedgerow.client.cohort.samples import ClippedSamples
from hedgerow.client.cohort.schedule import ClientGroup
from hedgerow.client.cohort.stack import Stack, Workspace
from hedgerow.client.cohort.step import Fused, Step
from hedgerow.client.draws import Axis, Draws
from hedgerow.rng import client_generators
from hedgerow.types import Fit, Layout, LocalTraining, Model, Samples, Vector


@dataclass(frozen=True)
class Work:
    """What all clients of a round share, each one's steps, and its correction, if there are corrections."""

    module: BatchedModule
    losses: Losses
    layout: Layout
    model: Model
    local: LocalTraining
    seed: int
    round: int
    device: torch.device
    workspace: Workspace
    steps: Mapping[str, int]
    axes: Sequence[Axis] = ()
    corrections: Mapping[str, Vector] | None = None


@dataclass
class _Client:
    """A client that has a slot."""

    name: str
    data: Samples
    draws: Draws | None


class Batch:
    """Trains the clients of one group, at most `batch_clients` at a time.

    Args:
        work: what the clients share.
        group: the clients.
        batch_clients: most slots.
        min_batch: fewest slots that compute the same bits as `batch_clients` do;
            the results of slots without a client are ignored.
    """

    def __init__(self, work: Work, group: ClientGroup, batch_clients: int, min_batch: int) -> None:
        self._work, self._rows, self._min_batch = work, group.rows, min_batch
        self._waiting = list(reversed(group.clients))
        names = [name for name, _ in group.clients]
        self._shuffles = client_generators(work.seed, "shuffle", round=work.round, clients=names)
        copies = max(min(batch_clients, len(group.clients)), min_batch)
        local, learning_rate = work.local, work.local.learning_rate_at(work.round)
        sizes = [len(data.y) for _, data in group.clients]
        most, least = max(sizes), min(sizes)
        self._first = self._gram_matrices(copies, group.first_rows, least, learning_rate)
        self._wide = {
            layer.weight: LowRankUpdates(
                layer, self._start(layer), copies, kept, learning_rate, work.workspace
            )
            for layer, kept in group.wide
        }
        away: list[GramMatrices | LowRankUpdates] = [
            *([self._first] if self._first else []),
            *self._wide.values(),
        ]
        self._away = [(each, self._place(each.layer.weight), each.layer.shape) for each in away]
        without = {each.layer.weight for each in away}
        corrected, channels_last = work.corrections is not None, work.module.channels_last
        made_of = work.layout, copies, local, work.device, without, corrected, channels_last
        self._stack = work.workspace.made("stack", made_of, lambda: Stack(work.workspace, *made_of))
        self._stack.begin(work.model, learning_rate)
        self._clipped: ClippedSamples | None = None
        if local.clip_samples:
            self._clipped = ClippedSamples(
                work.module, work.losses, work.layout, work.workspace, local.clip_samples
            )
        self._totals = torch.zeros(copies, dtype=torch.float64, device=work.device)
        self._orders = Orders(copies, group.rows, most, local, group.first_rows - 1 if self._first else None)
        # Targets are stored row by row in the numbering of `Orders`, including its spare row.
        self._y_rows = group.first_rows if self._first else most
        like = group.clients[0][1].y
        self._y = np.zeros((copies * self._y_rows, *like.shape[1:]), like.dtype)
        self._starts = np.arange(copies)[:, None] * self._y_rows
        self._fuse = work.module.fusable if self._stack.plain else frozenset()
        self._fused = Fused(learning_rate, self._stack.keep)
        self._slots = self._begin(range(min(copies, len(self._waiting))))
        for slot in range(len(self._slots), copies):
            self._clear(slot)

    @property
    def clients(self) -> list[tuple[str, Samples]]:
        """The clients in the slots, which have not finished."""
        return [(c.name, c.data) for c in self._slots]

    @property
    def waiting(self) -> Sequence[tuple[str, Samples]]:
        """The clients that have not started."""
        return tuple(reversed(self._waiting))

    def collect(self) -> Iterator[tuple[str, Fit]]:
        """The results of the clients that have finished, not finite if training diverged.

        Each slot is reassigned as its result is taken.
        """
        totals, done, clients = self._totals.tolist(), self._orders.done(len(self._slots)), len(self._slots)
        # Of all at once it takes less time than one by one.
        finite = [False] * clients
        if len(done) == clients:
            finite = known(self._stack.rows(clients)[0], [each for each, _, _ in self._away])
        self._stack.bring(done)
        for slot in reversed(done):
            client = self._slots[slot]
            fit = self._result(slot, totals[slot], finite[slot])
            if self._waiting:
                self._slots[slot] = self._begin([slot])[0]
            else:
                self._close(slot)
            yield client.name, fit

    def _close(self, slot: int) -> None:
        """Release a slot, and move the last one into its place."""
        last = self._slots.pop()
        end = len(self._slots)
        if slot < end:
            self._slots[slot] = last
            self._stack.move(end, slot)
            if self._first:
                self._first.move(end, slot)
            for wide in self._wide.values():
                wide.move(end, slot)
            self._orders.move(end, slot)
            self._y_of(slot)[:] = self._y_of(end)
            self._totals[slot] = self._totals[end]
        if end < self._min_batch:
            self._clear(end)

    def _clear(self, slot: int) -> None:
        """Zero a slot that no client uses: it is still computed, and must stay finite."""
        self._orders.clear(slot)
        self._stack.reset(slot)
        if self._first:
            self._first.clear(slot)
        for wide in self._wide.values():
            wide.begin(slot)

    def _begin(self, slots: Collection[int]) -> list[_Client]:
        """Assign slots to the next clients."""
        work, found = self._work, []
        for slot in slots:
            name, data = self._waiting.pop()
            draws = Draws(work.seed, round=work.round, client=name) if work.module.draws else None
            samples = len(data.y)
            self._orders.begin(slot, samples, work.steps[name], next(self._shuffles))
            self._y_of(slot)[:samples] = data.y
            found.append(_Client(name, data, draws))
        self._totals[list(slots)] = 0
        for slot, client in zip(slots, found, strict=True):  # a separate loop: copying data evicts the cache
            correction = None if work.corrections is None else work.corrections[client.name]
            self._stack.reset(slot, correction)
            if self._first:
                self._first.load(slot, client.data)
            for wide in self._wide.values():
                wide.begin(slot)
        return found

    def _result(self, slot: int, total: float, finite: bool) -> Fit:
        client = self._slots[slot]
        samples = len(client.data.y)
        steps = self._work.steps[client.name]
        loss = total / self._work.local.samples_seen(samples, steps)
        delta, buffers, kept = self._stack.results(slot)
        for each, place, shape in self._away:
            each.change(slot, torch.from_numpy(delta[place].reshape(shape)))
        # A changed constant counts as a failure too: the loop then retrains the client and says why.
        whole = kept and math.isfinite(loss) and (finite or is_finite(delta))
        whole = whole and (not len(buffers) or is_finite(buffers))
        return Fit(delta, buffers, samples, {"loss": loss}, whole, steps=steps)

    def advance(self) -> None:
        """Step every slot until a client has finished."""
        for _ in range(self._orders.until_done(len(self._slots))):
            self._step()

    def _step(self) -> None:
        width = max(len(self._slots), self._min_batch)
        index, counts = self._orders.next(len(self._slots), width)
        draws = [c.draws for c in self._slots] + [None] * (width - len(self._slots))
        place = (index + self._starts[:width]).ravel()
        y = self._y[place].reshape(width, self._rows, *self._y.shape[1:])
        targets = torch.from_numpy(y).to(self._work.device)
        x = self._samples(width, index) if self._first is None else None
        counted = torch.from_numpy(counts)
        gradients: Mapping[str, Tensor | None]
        if self._clipped is not None and x is not None:
            losses, gradients = self._clipped(self._stack, x, targets, counts.tolist(), draws)
        else:
            first = self._first.step(place, width, self._rows) if self._first else None
            losses, gradients = self._gradients(x, targets, counts.tolist(), draws, first)
        with torch.no_grad():
            self._stack.step(gradients, width)
            self._totals[:width].addcmul_(losses.double(), counted.to(losses.device))

    def _gradients(
        self,
        x: Tensor | None,
        y: Tensor,
        samples: Sequence[int],
        draws: Sequence[Draws | None],
        first: FirstStep | None,
    ) -> tuple[Tensor, Mapping[str, Tensor | None]]:
        """Each slot's loss, and the gradients of the parameters that layers do not update themselves."""
        width = len(samples)
        # `data`, unlike `detach`, gives each tensor its own autograd version counter.
        parameters = {n: view.data.requires_grad_() for n, view in self._stack.parameters(width).items()}
        tensors = {**parameters, **self._stack.buffers(width)}
        step = Step(
            tensors, samples, self._rows, draws, self._fused, self._fuse, first=first, wide=self._wide,
            axes=self._work.axes,
        )  # fmt: skip
        losses = self._work.losses(step, self._work.module(step, x), y)
        # Includes those of `fuse`: their layers update them during the backward pass and return None.
        outputs = None if first is None else first.outputs
        asked = [wide.asked for wide in self._wide.values()]
        inputs = [*parameters.values(), *asked, *([] if outputs is None else [outputs])]
        # Summed, because torch imports sympy to check explicit `grad_outputs`.
        found = torch.autograd.grad(losses.sum(), inputs, allow_unused=True)
        if first is not None and outputs is not None and found[-1] is not None:
            with torch.no_grad():
                first.learn(found[-1])
        gradients = dict(zip(parameters, found, strict=False))
        return losses, {n: g for n, g in gradients.items() if n not in self._fuse}

    def _samples(self, width: int, index: NDArray[np.int64]) -> Tensor:
        """The next batch of each slot, padded to the same number of rows."""
        x = self._workspace("x", width, self._slots[0].data.x)
        for slot, client in enumerate(self._slots):
            if x[slot].flags.c_contiguous:
                np.take(client.data.x, index[slot], axis=0, out=x[slot], mode="clip")
            else:
                x[slot] = client.data.x[index[slot]]
        x[len(self._slots) :] = x[0]
        return torch.from_numpy(x).to(self._work.device)

    def _y_of(self, slot: int) -> NDArray[Any]:
        return self._y[slot * self._y_rows : (slot + 1) * self._y_rows]

    def _gram_matrices(self, copies: int, rows: int, least: int, learning_rate: float) -> GramMatrices | None:
        layer, work = self._work.module.first_layer, self._work
        if layer is None or not rows:
            return None
        like = layer, copies, rows, work.device
        first = work.workspace.made("first layer", like, lambda: GramMatrices(*like, work.workspace))
        first.begin(self._start(layer), least, learning_rate)
        return first

    def _place(self, name: str) -> slice:
        layout = self._work.layout
        return layout.slices()[[t.name for t in layout.parameters].index(name)]

    def _start(self, layer: FirstLayer | WideLayer) -> Tensor:
        """A layer's weight in the global model."""
        weight = self._work.model.parameters[self._place(layer.weight)]
        return torch.from_numpy(np.require(weight, requirements="W")).view(layer.shape).to(self._work.device)

    def _workspace(self, key: str, width: int, like: NDArray[Any]) -> NDArray[Any]:
        """An array for a batch; for images, its memory order is (rows, height, width, clients, channels)."""
        dtype = torch.from_numpy(np.empty(0, like.dtype)).dtype
        work, sample = self._work, like.shape[1:]
        if work.module.images and len(sample) > 1 and dtype.is_floating_point:
            shape = (self._rows, *sample[1:], width, sample[0])
            workspace = work.workspace.take(key, shape, dtype, torch.device("cpu")).numpy()
            return np.moveaxis(workspace, (-2, 0, -1), (0, 1, 2))
        return work.workspace.take(key, (width, self._rows, *sample), dtype, torch.device("cpu")).numpy()
