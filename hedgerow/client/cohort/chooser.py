"""Choosing how to train clients, by measuring two of them unless the caller has decided."""

import logging
import time
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch

from hedgerow.client.cohort.autotune.choice import Choice, Clients, choose
from hedgerow.client.cohort.batched_training import BatchedTraining
from hedgerow.client.cohort.step import CannotBatch, SharedDraws, explained
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.types import Fit, LocalTraining, Model, Samples

log = logging.getLogger("hedgerow")

_WIDTHS = {"cpu": (4, 6, 10, 25, 50)}
_OF_GPU = (16, 64, 256)
_MEMORY_FLOATS = 2**27
"""Floats in a batch's parameters, gradients, moments, buffers and constants: half a GiB."""
_SHARE_OF_GPU = 8
"""On a GPU: the part of its memory that they may take."""


@final
@dataclass(frozen=True)
class Chooser:
    """Chooses between a loop over clients and a batch of them, whichever is faster.

    Attributes:
        inner: trains one client.
        batched: trains several.
        device: the torch device of both.
        threads: number of torch threads.
        mode: `"auto"`, or `"batch"`, which only checks that a batch is possible.
        batch_clients: clients in a batch; `None` to measure.
    """

    inner: TorchTrainer
    batched: BatchedTraining
    device: torch.device
    threads: int
    mode: str
    batch_clients: int | None

    def __call__(
        self, model: Model, clients: Clients, local: LocalTraining, seed: int, round: int
    ) -> Choice | None:
        """The faster choice for these clients; `None` if the model can be trained on none of them.

        Raises:
            ValueError: the mode is `"batch"` and the model cannot be batched.
        """
        some = self._healthy(model, self.batched.possible(clients, local), local, seed, round)
        if not some:
            return None
        counts = [local.steps(len(data)) for _, data in clients if len(data)]

        def loop(clients: Clients, local: LocalTraining) -> dict[str, Fit]:
            return {n: self.inner.fit(model, d, local, seed=seed, round=round, client=n) for n, d in clients}

        def batch(
            clients: Clients, local: LocalTraining, batch_clients: int, min_batch: int
        ) -> dict[str, Fit]:
            choice, fits = Choice("batch", "", batch_clients, min_batch), {}
            trained = self.batched.train(model, clients, local, choice, seed=seed, round=round, careful=False)
            for name, _, fit in trained:
                if fit is None:
                    raise CannotBatch("training diverges in a batch")
                fits[name] = fit
            return fits

        try:
            with explained():
                self.batched.prepare(some)
                on_cpu = self.device.type == "cpu"
                # CPU time, so that the machine's load does not count; but it covers only one thread.
                clock = time.thread_time if on_cpu and self.threads == 1 else time.perf_counter
                return choose(
                    some, counts, local, loop, batch, self._widths(),
                    timed=self.mode == "auto", bits=on_cpu, clock=clock,
                )  # fmt: skip
        except SharedDraws as error:
            log.warning("clients are trained one after another: %s", error)
            return Choice("loop", str(error))
        except CannotBatch as error:
            if self.mode == "batch":
                raise ValueError(
                    f"mode is 'batch', but the model cannot be trained in a batch: {error}; "
                    f"take mode 'auto' or 'loop'"
                ) from error
            return Choice("loop", f"the model cannot be trained in a batch: {error}")

    def _widths(self) -> list[int]:
        """The batch sizes to try, as far as memory allows."""
        on_cpu = self.device.type == "cpu"
        if self.batch_clients or (self.mode == "batch" and on_cpu):
            return [self.batch_clients or 10]
        layout = self.inner.layout
        memory = self._floats() // (4 * layout.dimension + layout.buffer_size + layout.constant_size)
        return [w for w in _WIDTHS.get(self.device.type, _OF_GPU) if w <= max(2, memory)] or [2]

    def _floats(self) -> int:
        if self.device.type != "cuda":
            return _MEMORY_FLOATS
        return int(torch.cuda.get_device_properties(self.device).total_memory) // (4 * _SHARE_OF_GPU)

    def _healthy(
        self, model: Model, clients: Clients, local: LocalTraining, seed: int, round: int
    ) -> list[tuple[str, Samples]]:
        """Two large clients for whose data the model works."""
        found: list[tuple[str, Samples]] = []
        short = replace(local, epochs=1)
        for name, data in sorted(clients[:32], key=lambda client: -len(client[1])):
            few = data.take(np.arange(min(len(data), local.batch_size or len(data))))
            same_shape = not found or data.x.shape[1:] == found[0][1].x.shape[1:]
            if len(found) < 2 and same_shape:
                try:
                    self.inner.fit(model, few, short, seed=seed, round=round, client=name)
                except Exception:  # this client's error, reported when it trains
                    continue
                found.append((name, data))
        return found
