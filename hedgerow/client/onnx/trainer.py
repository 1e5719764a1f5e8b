"""Local training with numpy and ONNX Runtime alone, by the graphs that `hedgerow export` writes."""

from functools import partial
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from hedgerow import checks
from hedgerow.client.onnx.evaluator import Evaluator
from hedgerow.client.onnx.fitter import Fitter
from hedgerow.graphs.bundle import EVALUATE, TRAIN, Graphs
from hedgerow.graphs.errors import BadGraphs
from hedgerow.graphs.signature import signature_of
from hedgerow.types import Fit, Layout, LocalTraining, Model, Samples, Vector

_MOST_THREADS = 1024


@final
@checks.arguments
class OnnxTrainer:
    """A `Trainer` on ONNX Runtime, for one model, loss and way of training: those of the graphs.

    Samples come in the order of `TorchTrainer`, in the same batches, and what dropout
    keeps is drawn alike; results differ by rounding. The optimizer starts afresh in
    every `fit`. A graph is loaded when it is first used.

    Args:
        graphs: what `hedgerow export` wrote.
        threads: that one operator may use while it trains. Other numbers may give other bits.

    Raises:
        BadGraphs: the manifest does not say what a trainer must know, or the graphs
            do not belong together.

    A trainer is not safe to use from two threads at once.
    """

    def __init__(self, graphs: Graphs, *, threads: int = 1) -> None:
        checks.kind(Graphs, ", such as Graphs.read(folder)", graphs=graphs)
        checks.whole(1, _MOST_THREADS, threads=threads)
        self._graphs, self._threads = graphs, threads
        each = graphs.manifest["graphs"]
        train, evaluate = signature_of(each[TRAIN], "train"), signature_of(each[EVALUATE], "evaluate")
        for name in ("x", "y"):
            if train.inputs[name].shape[1:] != evaluate.inputs[name].shape[1:]:
                raise BadGraphs(f"the two graphs take {name} of different shapes; export them together")
        if train.dtype != "float32" or train.dtype != evaluate.dtype:
            raise BadGraphs(
                f"the graphs compute in {train.dtype} and {evaluate.dtype}; a trainer needs float32"
            )
        if train.layout != evaluate.layout:
            raise BadGraphs("the two graphs are of different models; export them together")
        self._layout = train.layout
        self._evaluator = Evaluator(graphs.evaluate, evaluate, threads)
        self._fitter = Fitter(graphs.train, train, self._evaluator.form, threads)

    def __reduce__(self) -> Any:
        """Pickle for another process, which loads the graphs again."""
        return partial(OnnxTrainer, self._graphs, threads=self._threads), ()

    device, precision = "cpu", "float32"

    @property
    def supports(self) -> frozenset[str]:
        """Exactly what the graph has; see `Trainer.supports`."""
        return self._fitter.supports | {"outputs"}

    @property
    def layout(self) -> Layout:
        """The layout of the model's tensors."""
        return self._layout

    def initial(self, seed: int) -> Model:
        """Raises `ValueError`: a graph holds no values of a model."""
        raise ValueError(
            "a graph holds no values to start from; take the server's model, or make one where torch is"
        )

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
        """Train a copy of the model on one client's data.

        Raises:
            ValueError: there are no samples, they do not fit the graph, training
                diverged, or `local` is not how the graph trains. The error names the
                client.
        """
        return self._fitter.fit(
            model, data, local, seed=seed, round=round, client=client, correction=correction
        )

    def evaluate(self, model: Model, data: Samples) -> dict[str, float]:
        """Loss and metrics of a model: means over the samples.

        Raises:
            ValueError: there are no samples, or they do not fit the graph.
        """
        return self._evaluator.evaluate(model, data)

    def outputs(self, model: Model, x: NDArray[Any]) -> NDArray[np.float32]:
        """A model's outputs for samples; raises `ValueError` if there are none."""
        return self._evaluator.outputs(model, x)
