"""Many clients' local training as one computation."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hedgerow import checks
from hedgerow.client.cohort.autotune.choice import Choice, Clients
from hedgerow.client.cohort.batched_training import BatchedTraining
from hedgerow.client.cohort.chooser import Chooser
from hedgerow.client.cohort.ops.losses import losses_of
from hedgerow.client.cohort.schedule import Limits
from hedgerow.client.cohort.step import SharedDraws
from hedgerow.client.task import Task
from hedgerow.client.torch.device import find_device
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.types import FailedFit, Fit, Layout, LocalTraining, Model, Samples, Vector

log = logging.getLogger("hedgerow")


def _alone(local: LocalTraining) -> str:
    """Why each client must be trained alone; empty if several can be trained together."""
    if local.sample_noise:
        return "sample_noise: each client draws its batches and noise, and keeps its account, alone"
    return "sample_gradients: Opacus knows one model at a time" if local.sample_gradients == "opacus" else ""


class CohortTrainer:
    """A `Trainer` that can also train many clients at once, with `fit_many`.

    `fit_many` returns what `fit` returns, client by client, up to rounding: about
    1e-7 per value after a local epoch, more where rounding decides a maximum or
    the sign before a ReLU. With the same arguments and the same `choice`, it gives
    the same bits, whichever other clients are trained, and in whatever order.

    Layers with a batched form: Linear, Conv1d and Conv2d, their pooling,
    GroupNorm, LayerNorm, BatchNorm (each client with the statistics of its own
    batch), Embedding, GRU and LSTM (one direction), dropout (with the masks that
    each client would draw alone), and the usual elementwise ones. Others go
    through `torch.vmap`. A model for which neither works, or that computes
    something else in a batch than alone, is trained in a loop; `choice.why`
    gives the reason.

    Args:
        task: what is learned.
        threads: number of torch threads while it trains.
        device: such as `"cuda"`; `None` is that of `choice`, or the CPU. On a GPU
            a client's last bits may depend on the others of its batch.
        precision: as for `TorchTrainer`; less than float32 is trained in a loop.
        mode: `"loop"` or `"batch"`, or `"auto"` to measure at the first
            `fit_many` and use the faster one.
        batch_clients: clients in a batch; `None` to measure, or if `mode` is `"batch"` 10, and
            on a GPU all that an eighth of its memory has room for, up to 256.
        choice: an earlier trainer's, instead of `mode` and `batch_clients`.

    Raises:
        ValueError: as for `TorchTrainer`; or `mode` or `batch_clients` is invalid, or
            `mode` is `"batch"` with less than float32.

    >>> import numpy as np, torch
    >>> task = Task(lambda: torch.nn.Linear(2, 2))
    >>> clients = [(n, Samples(np.eye(2, dtype=np.float32), np.arange(2))) for n in ("a", "b")]
    >>> trainer = CohortTrainer(task, mode="batch", batch_clients=2)
    >>> model, local = trainer.initial(0), LocalTraining()
    >>> sorted(name for name, fit in trainer.fit_many(model, clients, local, seed=1, round=1))
    ['a', 'b']
    >>> trainer.choice.method, trainer.choice.batch_clients
    ('batch', 2)
    """

    def __init__(
        self,
        task: Task,
        *,
        threads: int = 1,
        device: str | None = None,
        precision: str = "float32",
        mode: str = "auto",
        batch_clients: int | None = None,
        choice: Choice | None = None,
    ) -> None:
        checks.one_of(["auto", "loop", "batch"], mode=mode)
        if batch_clients is not None:
            checks.whole(2, batch_clients=batch_clients)
        self._task = task
        self._device = find_device(device or (choice.device if choice else None))
        self._inner = TorchTrainer(task, threads=threads, device=str(self._device), precision=precision)
        self._threads = threads
        self._mode, self._batch_clients = mode, batch_clients
        self._batched = BatchedTraining(
            self._inner, losses_of(self._inner.objective.own), self._device, threads
        )
        self._chooser = Chooser(self._inner, self._batched, self._device, threads, mode, batch_clients)
        if "batch" in (mode, choice and choice.method) and precision != "float32":
            raise ValueError(f"precision is {precision!r}; it must be 'float32' in a batch: take mode 'auto'")
        if choice is None and (mode == "loop" or precision != "float32"):
            why = "asked for" if mode == "loop" else f"a batch is float32 only, and precision is {precision}"
            choice = Choice("loop", why, device=str(self._device))
        self._choice = choice

    def __reduce__(self) -> Any:
        """Pickle for another process, which builds it again with the choice made here."""
        make = partial(
            CohortTrainer, self._task, threads=self._threads, device=self.device, precision=self.precision,
            mode=self._mode, batch_clients=self._batch_clients, choice=self._choice,
        )  # fmt: skip
        return make, ()

    @cached_property
    def supports(self) -> frozenset[str]:
        """What `TorchTrainer` supports, and `"many"` and `"choice"`."""
        return self._inner.supports | {"many", "choice"}

    @property
    def device(self) -> str:
        """The device that it computes on."""
        return self._inner.device

    @property
    def precision(self) -> str:
        """The precision of forward and backward passes."""
        return self._inner.precision

    @property
    def task(self) -> Task:
        """What is learned."""
        return self._task

    @property
    def layout(self) -> Layout:
        """The layout of the model's tensors."""
        return self._inner.layout

    @property
    def choice(self) -> Choice | None:
        """The choice made; `None` before the first `choose` or `fit_many`."""
        return self._choice

    def initial(self, seed: int) -> Model:
        """The model before the first round."""
        return self._inner.initial(seed)

    def fit(
        self,
        model: Model,
        data: Samples,
        local: LocalTraining,
        *,
        seed: int,
        round: int,
        client: str,
        correction: Vector | None = None,
        seeded_noise: bool = False,
    ) -> Fit:
        """Train a copy of the model on one client's data, alone."""
        return self._inner.fit(
            model, data, local, seed=seed, round=round, client=client, correction=correction,
            seeded_noise=seeded_noise,
        )  # fmt: skip

    def evaluate(self, model: Model, data: Samples) -> dict[str, float]:
        """Loss and metrics of a model: means over the samples."""
        return self._inner.evaluate(model, data)

    def outputs(self, model: Model, x: NDArray[Any]) -> NDArray[np.float32]:
        """A model's outputs for samples."""
        return self._inner.outputs(model, x)

    def fit_many(
        self,
        model: Model,
        clients: Clients,
        local: LocalTraining,
        *,
        seed: int,
        round: int,
        corrections: Mapping[str, Vector] | None = None,
        max_steps: Mapping[str, int] | None = None,
    ) -> Iterator[tuple[str, Fit | FailedFit]]:
        """Train copies of the model, each on one client's data.

        Args:
            model: the global model; it is not changed.
            clients: distinct stable names, and data.
            local: how to train.
            seed: seed of the run.
            round: round number, from 1.
            corrections: added to every step's gradient, `(d,)` for each client.
            max_steps: most steps of some clients, where these are fewer than those of `local`.

        Yields:
            Name and result of every client, in any order: its `Fit`, or a
            `FailedFit` with the error that `fit` raises for it. Needs the memory of
            `batch_clients` clients.

        Raises:
            ValueError: `mode` is `"batch"` and the model cannot be batched. A model
                that draws from a global generator is trained in a loop instead,
                with a warning.
        """
        choice = self.choose(model, clients, local, seed=seed, round=round)
        together = self._batched.possible(clients, local) if choice.method == "batch" else []
        limits = Limits(local, max_steps)
        steps = limits.steps(together)
        together = [client for client in together if steps[client[0]] <= choice.most_steps]
        try:
            together = together if self._batched.prepare(together) else []
        except SharedDraws as error:
            log.warning("clients are trained one after another: %s", error)
            together = []
        names = {name for name, _ in together}

        def alone(name: str, data: Samples) -> Fit | FailedFit:
            return self._alone(model, name, data, limits.local(name), seed, round, corrections)

        for name, data in clients:
            if name not in names:
                yield name, alone(name, data)
        trained = self._batched.train(
            model, together, local, choice,
            seed=seed, round=round, corrections=corrections, limits=limits,
        )  # fmt: skip
        for name, data, fit in trained:
            yield name, fit or alone(name, data)

    def choose(
        self, model: Model, clients: Clients, local: LocalTraining, *, seed: int, round: int
    ) -> Choice:
        """Decide how to train, unless already decided; `fit_many` calls it with its own arguments.

        It takes at most a second for a small model, and for a large one as long as a
        round of about 25 clients. The choice depends on timing, so it may differ from
        one call to the next: keep it, and give it to the run's other processes.

        Raises:
            ValueError: `mode` is `"batch"` and the model cannot be batched, or each client is to be
                trained alone (`sample_noise`, or `sample_gradients = "opacus"`).
        """
        if why := _alone(local):
            if self._mode == "batch":
                raise ValueError(f"mode is 'batch', but {why}; take mode 'auto' or 'loop'")
            chosen = Choice("loop", why, device=str(self._device))
            self._choice = self._choice or chosen  # shown to callers that ask how it trains
            return chosen
        if self._choice is None:
            measured = self._chooser(model, clients, local, seed, round)
            if measured is None:
                return Choice("loop", "there was no client to measure")
            self._choice = replace(measured, device=str(self._device))
        return self._choice

    def _alone(
        self,
        model: Model,
        name: str,
        data: Samples,
        local: LocalTraining,
        seed: int,
        round: int,
        corrections: Mapping[str, Vector] | None = None,
    ) -> Fit | FailedFit:
        correction = corrections[name] if corrections else None
        try:
            return self.fit(model, data, local, seed=seed, round=round, client=name, correction=correction)
        except Exception as error:
            return FailedFit(error)
