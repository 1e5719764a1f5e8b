"""Local training with torch; `hedgerow.client.torch.module` says which tensors are sent."""

from collections.abc import Generator
from contextlib import closing, nullcontext
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hedgerow import checks
from hedgerow.client.fitting import check_probabilities, check_samples, epochs, finite
from hedgerow.client.task import Task
from hedgerow.client.torch.batches import Batches
from hedgerow.client.torch.bounds import Bounds
from hedgerow.client.torch.device import CPU, find_device
from hedgerow.client.torch.dropping import Dropping
from hedgerow.client.torch.explained import OF_USERS, explained, total_of
from hedgerow.client.torch.loss import Objective
from hedgerow.client.torch.masks import Masks
from hedgerow.client.torch.module import FlatModule
from hedgerow.client.torch.precision import find_precision
from hedgerow.client.torch.private import chance, private_step
from hedgerow.client.torch.sample_ways import SampleWays, Way
from hedgerow.client.torch.samples import SampleGradients
from hedgerow.client.torch.settings import computing, seeded
from hedgerow.client.torch.step import Step, stepper
from hedgerow.client.torch.tensors import kinds_of
from hedgerow.client.torch.trial import Trial
from hedgerow.client.torch.with_opacus import installed
from hedgerow.rng import integer_seed
from hedgerow.types import Fit, Layout, LocalTraining, Model, Samples, Vector

_MOST_THREADS = 1024
_IN_FLOAT32 = {"clip_samples", "sample_noise"}
_SUPPORTS = {
    "adam", "clip_gradient", "correction", "max_steps", "momentum", "outputs", "proximal", "weight_decay"
}  # fmt: skip


@checks.arguments
class TorchTrainer:
    """A `Trainer` on torch. One module serves all clients, one after another.

    The optimizer starts afresh in every `fit`: no momentum is carried over.
    Images reach the model in torch's channels-last memory format, unless it fails
    with that (`batches.py`). In a batch of a single sample there is nothing to
    normalise by: BatchNorm then uses its running statistics, and does not change
    them. Layers train in the mode that the module's author gives them (`modes.py`).

    Args:
        task: what is learned.
        threads: number of torch threads while it trains. Other numbers give other bits.
        device: such as `"cuda"`; `None` is the CPU. Another kind gives other bits; an Apple
            GPU other ones each time.
        precision: of forward and backward passes in training, `"float32"`, or
            `"bfloat16"` or `"float16"` if the device supports it (`torch.autocast`);
            weights, steps and evaluation are float32. Clipped samples are then not
            supported, because their norms would be rounded.
        evaluation_batch: number of samples evaluated at once.

    Raises:
        ValueError: the factory does not make a module with trainable float32
            parameters, or there is no such device or precision here.

    A trainer is not safe to use from two threads at once.

    >>> trainer = TorchTrainer(Task(lambda: nn.Linear(2, 3)))
    >>> trainer.layout.dimension
    9
    """

    def __init__(
        self,
        task: Task,
        *,
        threads: int = 1,
        device: str | None = None,
        precision: str = "float32",
        evaluation_batch: int = 256,
    ) -> None:
        checks.kind(Task, ", such as Task(MyModel)", task=task)
        checks.whole(1, _MOST_THREADS, threads=threads)
        checks.whole(1, evaluation_batch=evaluation_batch)
        self._task, self._threads, self._evaluation_batch = task, threads, evaluation_batch
        self._device = find_device(device)
        self._precision = find_precision(precision, self._device)
        build = partial(self._build, 0, "constants")
        decide = partial(kinds_of, statistics=task.statistics, constants=task.constants)
        self._net = FlatModule(build(), self._device, decide)
        self.objective = objective = Objective(task, self._device)
        self._samples = SampleGradients(self._net, objective.loss)
        self._batches = Batches(build, self._device)
        self._trial = Trial(build, objective.loss, self._device)
        self._dropping = Dropping(build, objective.loss, self._device)
        self._ways = SampleWays(build, self._net, objective.loss, self._samples)
        self._bounds = None if self._device.type == "cpu" else Bounds(build, Objective(task, CPU).loss)

    def __reduce__(self) -> Any:
        """Pickle for another process, which builds the same trainer again."""
        make = partial(
            TorchTrainer, self._task, threads=self._threads, device=str(self._device),
            precision=self.precision, evaluation_batch=self._evaluation_batch,
        )  # fmt: skip
        return make, ()

    @cached_property
    def supports(self) -> frozenset[str]:
        """See `Trainer.supports`; `"opacus"` only if installed, clipped samples only in float32."""
        if not self._precision.full:
            return frozenset(_SUPPORTS)
        return frozenset(_SUPPORTS | _IN_FLOAT32 | ({"opacus"} if installed() else set()))

    @property
    def device(self) -> str:
        """The device that it computes on."""
        return str(self._device)

    @property
    def precision(self) -> str:
        """The precision of forward and backward passes in training."""
        return self._precision.name

    @property
    def task(self) -> Task:
        """What is learned."""
        return self._task

    @property
    def layout(self) -> Layout:
        """The layout of the model's tensors."""
        return self._net.layout

    @property
    def mixing(self) -> list[str]:
        """Names of the layers that mix the samples of a batch."""
        return self._net.batch_norms

    def check(self, data: Samples, who: str) -> None:
        """Refuse data that this task cannot be learned from; raises `ValueError` that names `who`."""
        check_samples(data, who)
        if self.objective.default:
            check_probabilities(data, who)
        if self._bounds is not None:
            self._bounds.check(data, who)

    def initial(self, seed: int) -> Model:
        """The model as the factory makes it, with torch's generator seeded from `seed`."""
        module = self._build(seed, "initial model")
        if {id(p) for p in module.parameters()} & {id(p) for p in self._net.parameters}:
            raise ValueError(
                "the task's model returned the same parameters twice; "
                "it must make a new module, with new layers, each time it is called"
            )
        net = FlatModule(module, self._device, lambda _: self._net.kinds)
        if net.layout != self.layout:
            raise ValueError("the task's model made modules of two shapes; it must make the same each time")
        return Model(net.vector.detach().cpu().numpy().copy(), net.read_buffers(), net.read_constants())

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
        """Train a copy of the model on one client's data.

        The gradient of a step is that of the loss (or, with `clip_samples`, the
        mean of the samples' clipped gradients) plus `proximal * (w - w_global)`;
        it is clipped, then `weight_decay * w` and the correction are added,
        then the optimizer steps. `"loss"` in the metrics is the mean over all
        samples of all steps, as seen while training.

        With `clip_samples`, a sample's gradient is that of the loss of a batch
        of this sample alone, and dropout draws separately for each sample. With
        `sample_noise`, the choice of samples, the noise and what the model draws
        for a sample come from the operating system's generator, or with
        `seeded_noise` from the run's seed; no two samples share draws; and the
        result reveals neither the loss nor the number of samples (it says 1).

        Raises:
            ValueError: there are no samples, they do not fit the model, training
                diverged, or the model is unsuitable for `clip_samples` or
                `sample_noise` (see `Trial`). The error names the client; with
                `sample_noise`, it reveals nothing of the samples.
        """
        who = f"client {client!r}, round {round}"
        self.check(data, who)
        where: Any = {"seed": seed, "round": round, "client": client}
        dropout = integer_seed(purpose="dropout", **where)
        with computing(self._threads, self._device), seeded(dropout, self._device), torch.enable_grad():
            start = self._net.load(model)
            self._net.train()
            way = self._way(data, local, who) if local.clip_samples else None
            extra = None if correction is None else torch.from_numpy(correction.copy()).to(self._device)
            step = stepper(local, local.learning_rate_at(round), self._net.parameters, start, extra)
            samples = len(data)
            total, steps = 0.0, local.steps(samples)
            drawn = chance(seeded_noise, **where) if local.sample_noise else None
            for number in range(steps if drawn else 0):
                assert way and drawn  # noqa: PT018
                take = partial(self._batches.take, data)
                step(private_step(way.gradients, take, data, self._net.parameters, local, drawn, number, who))
            masks, self._dropping.masks.whose = self._dropping.masks, (data, seed, round, client)
            with masks.dropout:
                for batches in [] if local.sample_noise else epochs(samples, local, **where):
                    total += self._epoch(data, batches, local, step, who, way, masks)
            delta, buffers = (self._net.vector - start).cpu().numpy(), self._net.read_buffers()
            self._net.check_constants(model, who)
        loss = total / local.samples_seen(samples, steps)
        told = (1, {}) if local.sample_noise else (samples, {"loss": loss})
        gradients = way.name if way else ""
        fit = Fit(delta, buffers, *told, finite=True, sample_gradients=gradients, steps=steps)
        return finite(fit, who, local.learning_rate_at(round))

    def evaluate(self, model: Model, data: Samples) -> dict[str, float]:
        """Loss and metrics of a model: means over the samples.

        They may be infinite or NaN if the model's outputs are.

        Raises:
            ValueError: there are no samples, they do not fit the model, or a
                metric does not return one value for each sample.
        """
        self.check(data, "evaluation")
        totals = dict.fromkeys(["loss", *self._task.measures], 0.0)
        with closing(self._evaluated(model, data)) as batches:
            for x, y in batches:
                try:
                    outputs = self._net.module(x)
                    totals["loss"] += self.objective.loss(outputs, y).item() * len(x)
                    for name, metric in self.objective.measures.items():
                        totals[name] += total_of(name, metric(outputs, y), len(x))
                except OF_USERS as error:
                    raise explained(error, "evaluation", x, y) from error
        return {name: total / len(data) for name, total in totals.items()}

    def outputs(self, model: Model, x: NDArray[Any]) -> NDArray[np.float32]:
        """A model's outputs for samples; raises `ValueError` if there are none."""
        data = Samples(x, np.zeros(len(x), np.int64))
        check_samples(data, "prediction")
        with closing(self._evaluated(model, data)) as batches:
            return np.concatenate([self._net.module(x).cpu().numpy() for x, _ in batches])

    def _evaluated(self, model: Model, data: Samples) -> Generator[tuple[Tensor, Tensor], None, None]:
        """Yield batches, while the module has a model's values and is in evaluation mode."""
        seed = integer_seed(0, "evaluate")
        with computing(self._threads, self._device), seeded(seed, self._device), torch.no_grad():
            self._net.load(model)
            self._net.module.eval()
            for first in range(0, len(data), self._evaluation_batch):
                index = np.arange(first, min(first + self._evaluation_batch, len(data)))
                yield self._batches.take(data, index)

    def _way(self, data: Samples, local: LocalTraining, who: str) -> Way:
        """How per-sample gradients are computed, after a trial that the model is suitable for them."""
        self._trial.check(self._net, data, who, noise=local.sample_noise > 0)
        return self._ways.choose(local, data)

    def _epoch(
        self, data: Samples, batches: list[NDArray[np.int64]], local: LocalTraining, step: Step, who: str,
        way: Way | None, masks: Masks,
    ) -> float:  # fmt: skip
        """One pass over the data in these batches; the sum of the samples' losses."""
        total = torch.zeros((), dtype=torch.float64, device=self._device)
        for index in batches:
            x, y = self._batches.take(data, index)
            try:
                masks.batch = x
                if way is not None:
                    loss, gradients = way.gradients(x, y, local.clip_samples, masks)
                else:
                    loss, gradients = self._gradients(x, y)
            except OF_USERS as error:
                raise explained(error, who, x, y) from error
            step(gradients)
            total.add_(loss.detach(), alpha=len(index))
        return total.item()

    def _gradients(self, x: Tensor, y: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The batch's loss and its gradients."""
        with self._net.lone_sample() if len(x) == 1 else nullcontext():
            loss = self.objective.loss(self._precision.forward(self._net.module, x), y)
        return loss, self._precision.backward(loss, self._net.take_gradients)

    def _build(self, seed: int, purpose: str) -> nn.Module:
        with computing(self._threads, self._device), seeded(integer_seed(seed, purpose), self._device):
            module = self._task.model()
        if isinstance(module, nn.Module):
            return module
        raise ValueError(f"the task's model returned {module!r}; it must return a torch.nn.Module")
