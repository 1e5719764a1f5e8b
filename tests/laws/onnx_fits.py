"""A local epoch by a graph alone, as on a device, beside torch in float32 and in float64."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from hedgerow.client.fitting import epochs
from hedgerow.client.onnx.trainer import OnnxTrainer
from hedgerow.client.task import Task
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.export.exporting import SampleForm, export_evaluation, export_training
from hedgerow.graphs.bundle import Graphs
from hedgerow.types import LocalTraining, Samples
from tests.laws.export_steps import by_torch

WHO: dict[str, Any] = {"seed": 3, "round": 2, "client": "a"}


def graphs_of(task: Task, local: LocalTraining, data: Samples, *, correction: bool = False) -> Graphs:
    form = SampleForm.of(data)
    train = export_training(task, local, form, correction=correction)
    evaluate = export_evaluation(task, form, batch_size=local.batch_size)
    return Graphs.of({}, train.manifest, train.content, evaluate.manifest, evaluate.content)


def order_of(data: Samples, local: LocalTraining) -> list[np.ndarray]:
    return [index for epoch in epochs(len(data), local, **WHO) for index in epoch]


def check_epoch(task: Task, data: Samples, local: LocalTraining, *, corrected: bool = False) -> None:
    """Ours is at most four times as far from float64 as torch's own float32."""
    theirs, ours = TorchTrainer(task), OnnxTrainer(graphs_of(task, local, data, correction=corrected))
    assert ours.layout.fingerprint == theirs.layout.fingerprint
    model = theirs.initial(1)
    random = np.random.default_rng(4).normal(size=len(model.parameters)).astype("float32")
    more = {"correction": 0.01 * random} if corrected else {}
    found, expected = (t.fit(model, data, local, **WHO, **more) for t in (ours, theirs))
    at = local.learning_rate_at(WHO["round"])
    exact = by_torch(
        task, model, replace(local, learning_rate=at), data, torch.float64,
        order=order_of(data, local), **more,
    ) - model.parameters  # fmt: skip
    away = np.linalg.norm(found.delta - exact)
    assert away <= 4 * np.linalg.norm(expected.delta - exact)
    assert np.linalg.norm(exact) > 1e3 * away  # it has moved, and much
    assert found.metrics["loss"] == pytest.approx(expected.metrics["loss"], rel=1e-5)
    for told in ("num_examples", "sample_gradients"):
        assert getattr(found, told) == getattr(expected, told)
    np.testing.assert_allclose(found.buffers, expected.buffers, rtol=2e-6, atol=2e-6)
