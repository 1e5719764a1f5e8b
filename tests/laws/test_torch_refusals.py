"""What the torch trainer refuses: tasks, data, models, losses and devices."""

import numpy as np
import pytest
import torch
from torch import nn

from hedgerow.client.task import Task
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.types import LocalTraining, Model, Samples
from tests.laws.torch_fits import cnn_trainer, fit, images, norm_net


def test_samples_that_batchnorm_mixes_cannot_be_clipped():
    with pytest.raises(
        ValueError, match=r"client 'a', round 1: clip_samples.*BatchNorm layer '2'.*GroupNorm"
    ):
        fit(TorchTrainer(Task(norm_net)), images(5), LocalTraining(clip_samples=1.0))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_device_that_is_not_there_is_refused_with_what_to_do():
    for name in ("cuda", "cuda:7", "warp"):
        with pytest.raises(ValueError, match=f"device is '{name}'; torch finds 'cpu'.*leave device out"):
            cnn_trainer(device=name)


class Half(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(3, dtype=torch.bfloat16))


shared = nn.Linear(2, 2)

BAD_TASKS = {
    "an object": (lambda: Task(nn.Linear(2, 2)), "model is a Linear object.*Task\\(MyModel\\)"),
    "not callable": (lambda: Task("cnn"), "model is a str object"),
    "metric named loss": (lambda: Task(Half, metrics={"loss": max}), "'loss'"),
    "loss": (lambda: Task(Half, loss=3), "loss is 3"),
    "not a module": (lambda: TorchTrainer(Task(dict)), "returned {}; it must return a torch.nn.Module"),
    "bfloat16": (lambda: TorchTrainer(Task(Half)), "parameter 'w' is bfloat16; it must be float32"),
    "float64": (lambda: TorchTrainer(Task(lambda: nn.Linear(2, 2).double())), "float64.*\\.float\\(\\)"),
    "lazy": (lambda: TorchTrainer(Task(lambda: nn.LazyLinear(3))), "not LazyLinear"),
    "nothing to learn": (lambda: TorchTrainer(Task(nn.ReLU)), "ReLU has no trainable parameters"),
    "always the same": (lambda: TorchTrainer(Task(lambda: shared)).initial(0), "same parameters twice"),
    "shared layers": (
        lambda: TorchTrainer(Task(lambda: nn.Sequential(shared, nn.Linear(2, 2)))).initial(0),
        "with new layers",
    ),
}


@pytest.mark.parametrize("name", BAD_TASKS)
@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_a_bad_task_is_refused_with_what_to_do(name):
    make, message = BAD_TASKS[name]
    with pytest.raises(ValueError, match=message):
        make()


def test_bad_data_are_refused_and_the_client_is_named():
    trainer, good = cnn_trainer(), images(5)
    wrong_shape = Samples(np.zeros((5, 1, 9, 9), np.float32), good.y)
    cases = {
        "client 'a', round 1: there are no samples": good.take(np.arange(0)),
        r"client 'a', round 1: the model .* shape \(1, 9, 9\) \(float32\)": wrong_shape,
        "client 'a', round 1: x is uint8; it must be float32": Samples(good.x.astype(np.uint8), good.y),
        "from 10 to 14": Samples(good.x, np.arange(10, 15)),
        "client 'a', round 1: training diverged.*finite": Samples(good.x * np.float32(np.nan), good.y),
    }
    for message, data in cases.items():
        with pytest.raises(ValueError, match=message):
            fit(trainer, data)
    # The only loss of this fit is finite; its only step is not.
    with pytest.raises(ValueError, match=r"diverged \(loss \d.*learning rate was 3e\+38"):
        fit(trainer, Samples(good.x * 1000, good.y), LocalTraining(learning_rate=3e38))


def test_a_model_of_another_layout_is_refused():
    trainer = cnn_trainer()
    d = trainer.layout.dimension
    with pytest.raises(ValueError, match=f"has float32 of shape \\({d},\\)"):
        trainer.evaluate(Model(np.zeros(d + 1, np.float32)), images(5))
    with pytest.raises(ValueError, match="buffers"):
        trainer.evaluate(Model(np.zeros(d, np.float32), np.zeros(1, np.float32)), images(5))


def test_bad_losses_and_metrics_are_refused():
    def linear():
        return nn.Sequential(nn.Flatten(), nn.Linear(256, 10))

    vector_loss = TorchTrainer(Task(linear, lambda o, t: o.sum(1)))
    with pytest.raises(ValueError, match="must return a scalar"):
        fit(vector_loss, images(5))
    mean_metric = TorchTrainer(Task(linear, metrics={"top": lambda o, t: o.mean()}))
    with pytest.raises(ValueError, match="metric 'top' gave \\(\\) for 5 samples"):
        mean_metric.evaluate(mean_metric.initial(0), images(5))
