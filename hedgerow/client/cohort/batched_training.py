"""A task's clients trained side by side, group by group."""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from hedgerow import generators
from hedgerow.client.cohort.autotune.choice import Choice, Clients
from hedgerow.client.cohort.batch import Batch, Work
from hedgerow.client.cohort.graph.module import BatchedModule
from hedgerow.client.cohort.ops.losses import Losses
from hedgerow.client.cohort.schedule import ClientGroup, Limits, batch_rows, groups
from hedgerow.client.cohort.stack import Workspace
from hedgerow.client.cohort.step import SharedDraws
from hedgerow.client.draws import Axis
from hedgerow.client.torch.samples import SIDE_BY_SIDE
from hedgerow.client.torch.settings import computing, seeded
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.types import Fit, LocalTraining, Model, Samples, Vector

log = logging.getLogger("hedgerow")

Trained = Iterator[tuple[str, Samples, Fit | None]]
"""Name, data and result of each client; the result is `None` if it failed."""


class BatchedTraining:
    """Trains clients in batches; holds what is reused from one round to the next.

    Args:
        inner: trains single clients, and has the model.
        losses: computes the losses of a batch.
        device: the torch device.
        threads: number of torch threads.
    """

    def __init__(self, inner: TorchTrainer, losses: Losses, device: torch.device, threads: int) -> None:
        self._inner, self._losses, self._device, self._threads = inner, losses, device, threads
        self._module: BatchedModule | None = None
        self._workspaces: list[Workspace] = []
        self._draws = False

    def possible(self, clients: Clients, local: LocalTraining) -> list[tuple[str, Samples]]:
        """The clients that can be in a batch; with `clip_samples`, their gradients must fit in memory."""
        if local.clip_samples and self._inner.mixing:
            return []
        usable = [client for client in clients if self._usable(client[1])]
        if not local.clip_samples:
            return usable
        most = SIDE_BY_SIDE // self._inner.layout.dimension
        return [client for client in usable if batch_rows(len(client[1]), local.batch_size) <= most]

    def prepare(self, clients: Clients) -> bool:
        """Make the batched module, and observe it on the data of a client for which the model works.

        Raises:
            CannotBatch: the model cannot be batched.
            SharedDraws: it draws what the clients of a batch would share. Raised once.
        """
        with computing(self._threads, self._device):  # a lock: tracing changes `nn.Module` for all threads
            for _, data in clients:
                if self._module is not None or self._draws:
                    break
                # What the model draws here is discarded, and the generators are left unchanged.
                try:
                    with seeded(0, self._device):
                        self._module = self._observed(data)
                except SharedDraws:
                    self._draws = True
                    raise
        return self._module is not None and not self._draws

    def _observed(self, data: Samples) -> BatchedModule | None:
        """The batched module; `None` if the model fails on this data."""
        module = BatchedModule(self._inner._build(0, "constants").to(self._device), self._inner.layout)
        x, _ = self._inner._batches.take(data, np.arange(2) % len(data))  # BatchNorm refuses a single sample
        try:
            module.observe(x)
        except Exception:  # of the user's model, on this client's data
            return None
        return module

    def train(
        self,
        model: Model,
        clients: Clients,
        local: LocalTraining,
        choice: Choice,
        *,
        seed: int,
        round: int,
        corrections: Mapping[str, Vector] | None = None,
        limits: Limits | None = None,
        careful: bool = True,
    ) -> Trained:
        """Train clients, after `prepare`, in any order.

        Args:
            limits: how each trains, if some may take fewer steps than `local` gives.
            careful: if a batch fails, train each of its clients separately.
        """
        limits = limits or Limits(local)
        steps = limits.steps(clients)
        with self._workspace() as workspace:
            for group in self._groups(clients, limits, steps, corrected=corrections is not None):
                if self._draws:
                    yield from _left_alone(group.clients)
                    continue
                assert self._module is not None
                work = Work(
                    self._module, self._losses, self._inner.layout, model, local, seed, round,
                    self._device, workspace, steps, self._axes(group), corrections,
                )  # fmt: skip
                yield from self._train(work, group, choice, careful=careful)

    def _axes(self, group: ClientGroup) -> Sequence[Axis]:
        """Where the draws of a step have a client's samples."""
        assert self._module is not None
        if not self._module.draws:
            return ()
        with computing(self._threads, self._device):
            return self._inner._dropping.axes(group.clients[0][1])

    def _groups(
        self, clients: Clients, limits: Limits, steps: Mapping[str, int], *, corrected: bool
    ) -> list[ClientGroup]:
        # Low-rank layers support no correction; on a GPU, whose memory is fast, they are many small calls.
        if corrected or self._module is None or self._device.type != "cpu":
            return groups(clients, limits, steps)
        return groups(clients, limits, steps, self._module.first_layer, self._module.wide_layers)

    def _train(self, work: Work, group: ClientGroup, choice: Choice, *, careful: bool = True) -> Trained:
        data = dict(group.clients)
        batch = Batch(work, group, choice.batch_clients, choice.min_batch)
        # Watched only the first time: if any step of a batch draws, every step does.
        advance: Callable[[], None] = partial(_without_draws, batch.advance)
        while batch.clients:
            try:
                with computing(self._threads, self._device), torch.enable_grad(), warnings.catch_warnings():
                    warnings.filterwarnings("ignore", "There is a performance drop")
                    advance()
            except SharedDraws as error:
                self._draws = True
                if not careful:
                    raise
                log.warning("clients are trained one after another: %s", error)
                yield from _left_alone((*batch.clients, *batch.waiting))
                return
            except Exception:  # of the user's model or loss, on some client's data
                if not careful:
                    raise
                yield from self._apart(work, batch, group, choice)
                return
            advance = batch.advance
            for name, fit in batch.collect():
                yield name, data[name], fit if fit.finite else None

    def _apart(self, work: Work, batch: Batch, group: ClientGroup, choice: Choice) -> Trained:
        failed, waiting = batch.clients, batch.waiting
        if len(failed) == 1:
            yield *failed[0], None
        else:
            for client in failed:
                yield from self._train(work, replace(group, clients=(client,)), choice)
        if waiting:
            yield from self._train(work, replace(group, clients=tuple(waiting)), choice)

    def _usable(self, data: Samples) -> bool:
        """Whether a client can be in a batch; if not, the loop reports what is wrong with it."""
        try:
            self._inner.check(data, "")
        except ValueError:
            return False
        return data.y.dtype.kind == "f" or not np.minimum.reduce(data.y, axis=None) < 0

    @contextmanager
    def _workspace(self) -> Iterator[Workspace]:
        """Memory from the last round, unless another round is still using it."""
        workspace = self._workspaces.pop() if self._workspaces else Workspace()
        try:
            yield workspace
        finally:
            self._workspaces.append(workspace)


def _left_alone(clients: Clients) -> Trained:
    return ((name, data, None) for name, data in clients)


def _without_draws(advance: Callable[[], None]) -> None:
    """Take steps, and check that they draw only from each client's own generator.

    Raises:
        SharedDraws: they draw from a global one.
    """
    with generators.undisturbed():
        generators.mark()
        advance()
        if generators.drawn():
            raise SharedDraws
