"""A graph that measures gives what the trainer measures, and takes no part in what fills a batch up."""

import numpy as np
import pytest
from torch import nn

from hedgerow.client.task import Task
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.export.errors import CannotExport
from hedgerow.export.exporting import export_evaluation
from hedgerow.models import build
from hedgerow.types import Samples
from tests.laws.export_steps import form_of
from tests.onnx_runs import run


def net() -> nn.Module:
    return build("cnn-1d", input_shape=(3, 16), num_classes=10, width=8, batch_norm=True)()


def measured(task: Task, data: Samples, rows: int) -> dict[str, float]:
    graph = export_evaluation(task, form_of(data), batch_size=8)
    model = TorchTrainer(task).initial(2)
    mask = np.arange(8) < rows
    padded = [np.where(mask.reshape(-1, *[1] * (v.ndim - 1)), v, np.zeros_like(v)) for v in (data.x, data.y)]
    feeds = {"parameters": model.parameters, "buffers": model.buffers, "constants": model.constants}
    found = run(graph.content, {**feeds, "x": padded[0], "y": padded[1], "mask": mask})
    expected = TorchTrainer(task).evaluate(model, data.take(np.arange(rows)))
    assert {name.removeprefix("sum/") for name in found} == {"outputs", *expected}
    outputs = TorchTrainer(task).outputs(model, data.x[:rows])
    np.testing.assert_allclose(found["outputs"][:rows], outputs, atol=1e-5)
    means = {n.removeprefix("sum/"): v / rows for n, v in found.items() if n.startswith("sum/")}
    for name, value in {**means, "loss": found["loss"]}.items():
        assert value == pytest.approx(expected[name], abs=1e-5)
    return means


@pytest.mark.parametrize("rows", [8, 3])
def test_loss_accuracy_and_outputs_are_the_trainers(rows):
    rng = np.random.default_rng(0)
    data = Samples(rng.normal(size=(8, 3, 16)).astype("float32"), rng.integers(0, 2, 8))
    assert measured(Task(net), data, rows).keys() == {"accuracy"}


def test_a_loss_and_metrics_of_the_tasks_own_are_the_trainers():
    rng = np.random.default_rng(0)
    data = Samples(*(rng.normal(size=(8, n)).astype("float32") for n in (4, 1)))
    metrics = {"absolute": lambda outputs, y: (outputs - y).abs().mean(1)}
    assert measured(Task(lambda: nn.Linear(4, 1), nn.MSELoss(), metrics), data, 5).keys() == {"absolute"}


def test_a_metric_that_looks_at_values_is_refused():
    task = Task(
        lambda: nn.Linear(4, 1), nn.MSELoss(), {"some": lambda o, y: o[:, 0] if (o > 0).all() else y[:, 0]}
    )
    with pytest.raises(CannotExport, match="cannot be written as a graph"):
        export_evaluation(task, form_of(Samples(np.ones((2, 4), "float32"), np.ones((2, 1), "float32"))))
