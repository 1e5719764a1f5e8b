"""A trainer that exports a task's graphs and trains with them, where torch is installed too."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar, final

import numpy as np
from numpy.typing import NDArray

from hedgerow import checks
from hedgerow.client.fitting import check_samples
from hedgerow.client.onnx.evaluator import Evaluator
from hedgerow.client.onnx.fitter import Fitter
from hedgerow.client.task import Task
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.export.errors import CannotExport
from hedgerow.export.exporting import Exported, SampleForm, export_evaluation, export_training
from hedgerow.graphs.signature import signature_of
from hedgerow.types import Fit, Layout, LocalTraining, Model, Samples, Vector

_EVALUATION_BATCH = 256

_SUPPORTS = frozenset(
    {"adam", "clip_gradient", "clip_samples", "correction", "momentum", "outputs", "proximal", "weight_decay"}
)

Made = TypeVar("Made", Fitter, Evaluator)


@final
@checks.arguments
class ExportingTrainer:
    """A `Trainer` on ONNX Runtime for any task that can be exported.

    It trains as devices do that have the graphs alone (`OnnxTrainer`). The graphs are
    exported when they are first needed, once in each process: one that trains for
    each way of training and form of samples, and one that evaluates.

    Args:
        task: what is learned.
        threads: that one operator may use.

    Raises:
        ValueError: as `TorchTrainer`.

    `fit` and `evaluate` raise `CannotExport` too, a `ValueError`. A trainer is not
    safe to use from two threads at once.

    >>> import torch
    >>> trainer = ExportingTrainer(Task(lambda: torch.nn.Linear(2, 2)))
    >>> samples = Samples(np.eye(2, dtype=np.float32), np.arange(2))
    >>> fit = trainer.fit(trainer.initial(0), samples, LocalTraining(), seed=1, round=1, client="a")
    >>> fit.delta.shape, fit.num_examples
    ((6,), 2)
    """

    def __init__(self, task: Task, *, threads: int = 1) -> None:
        self._torch = TorchTrainer(task, threads=threads)
        self._task, self._threads = task, threads
        self._fitters: dict[Any, Fitter | CannotExport] = {}
        self._evaluators: dict[Any, Evaluator | CannotExport] = {}

    def __reduce__(self) -> Any:
        """Pickle for another process, which exports the graphs itself."""
        return partial(ExportingTrainer, self._task, threads=self._threads), ()

    device, precision = "cpu", "float32"

    supports = _SUPPORTS

    @property
    def task(self) -> Task:
        """What is learned."""
        return self._task

    @property
    def layout(self) -> Layout:
        """The layout of the model's tensors."""
        return self._torch.layout

    def initial(self, seed: int) -> Model:
        """The model before the first round, the same as `TorchTrainer`'s."""
        return self._torch.initial(seed)

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
    ) -> Fit:
        """Train a copy of the model on one client's data, as `OnnxTrainer.fit`."""
        check_samples(data, f"client {client!r}, round {round}")
        fitter = self._fitter(SampleForm.of(data), local, corrected=correction is not None)
        return fitter.fit(model, data, local, seed=seed, round=round, client=client, correction=correction)

    def evaluate(self, model: Model, data: Samples) -> dict[str, float]:
        """Loss and metrics of a model: means over the samples."""
        check_samples(data, "evaluation")
        return self._evaluator(SampleForm.of(data)).evaluate(model, data)

    def outputs(self, model: Model, x: NDArray[Any]) -> NDArray[np.float32]:
        """A model's outputs for samples; targets are taken to be classes."""
        data = Samples(x, np.zeros(len(x), np.int64))
        check_samples(data, "prediction")
        return self._evaluator(SampleForm.of(data)).outputs(model, x)

    def _fitter(self, form: SampleForm, local: LocalTraining, *, corrected: bool) -> Fitter:
        one_step = replace(local, learning_rate=1.0, learning_rate_decay=1.0, epochs=1)

        def make() -> Fitter:
            exported = export_training(self._task, one_step, form, correction=corrected)
            return Fitter(*_read(exported, "train"), self._evaluator(form).form, self._threads)

        return _kept(self._fitters, (form, one_step, corrected), make)

    def _evaluator(self, form: SampleForm) -> Evaluator:
        def make() -> Evaluator:
            exported = export_evaluation(self._task, form, batch_size=_EVALUATION_BATCH)
            return Evaluator(*_read(exported, "evaluate"), self._threads)

        return _kept(self._evaluators, form, make)


def _read(exported: Exported, kind: str) -> tuple[bytes, Any]:
    return exported.content, signature_of(exported.manifest, kind)


def _kept(made: dict[Any, Made | CannotExport], key: Any, make: Callable[[], Made]) -> Made:
    """What was made before; a task that cannot be exported is not tried for every client again."""
    if key not in made:
        try:
            made[key] = make()
        except CannotExport as error:
            made[key] = error
    found = made[key]
    if isinstance(found, CannotExport):
        raise found.with_traceback(None)
    return found
