"""Local training with a graph."""

from typing import final

import numpy as np

from hedgerow.client.draws import Draws
from hedgerow.client.fitting import check_model, epochs, finite, unfit
from hedgerow.client.onnx.form import Form
from hedgerow.client.onnx.steps import Steps
from hedgerow.graphs.signature import OF_A_STEP, Signature
from hedgerow.types import Fit, LocalTraining, Model, Samples, Vector
from hedgerow.wording import first_line, shown


@final
class Fitter:
    """Trains copies of models. The graph is loaded when it is first used.

    Args:
        content: of a graph that trains.
        signature: of it.
        form: the samples that it takes.
        threads: that it may use.
    """

    def __init__(self, content: bytes, signature: Signature, form: Form, threads: int) -> None:
        self._content, self._signature, self._form, self._threads = content, signature, form, threads
        self._loaded: Steps | None = None

    @property
    def supports(self) -> frozenset[str]:
        """What the graph has, by the names of `Trainer.supports`."""
        local, corrected = self._signature.local, "correction" in self._signature.inputs
        return (local.needs if local else frozenset()) | ({"correction"} if corrected else set())

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
        """As `Trainer.fit`."""
        who = f"client {client!r}, round {round}"
        self._form.check(data, who)
        self._check(local, correction, who)
        check_model(model, self._signature.layout)
        if self._loaded is None:
            self._loaded = Steps(self._content, self._signature, self._threads)
        steps, rate = self._loaded, local.learning_rate_at(round)
        steps.begin(model, rate, correction)
        draws, total = Draws(seed, round=round, client=client), 0.0
        for batches in epochs(len(data), local, seed=seed, round=round, client=client):
            for index in batches:
                try:
                    total += steps.step(data.x, data.y, index, draws) * len(index)
                except Exception as error:  # of ONNX Runtime, whose errors have no class in common
                    raise unfit(ValueError(first_line(error)), who, data.x[index], data.y[index]) from error
        fit = Fit(
            steps.value("parameters") - model.parameters,
            steps.value("buffers").copy(),
            len(data),
            {"loss": total / (local.epochs * len(data))},
            sample_gradients="hedgerow" if local.clip_samples else "",
        )
        return finite(fit, who, rate)

    def _check(self, local: LocalTraining, correction: Vector | None, who: str) -> None:
        """Raise `ValueError` if training is not what the graph does."""
        for name in OF_A_STEP:
            given, told = getattr(local, name), getattr(self._signature.local, name)
            if given != told:
                raise ValueError(
                    f"{who}: {name} is {shown(given)}, and the graph was exported with {shown(told)}; train"
                    " with that, or export it again"
                )
        if more := sorted(local.needs - self.supports):
            raise ValueError(
                f"{who}: training needs {', '.join(more)}, which no graph has; leave it out, or train with"
                " torch"
            )
        if correction is None:
            return
        if "correction" not in self.supports:
            raise ValueError(
                f"{who}: the graph takes no correction of its gradients; export it for this strategy"
            )
        size = self._signature.layout.dimension
        if np.shape(correction) != (size,):
            raise ValueError(f"{who}: correction is {shown(correction)}; it must have the shape ({size},)")
