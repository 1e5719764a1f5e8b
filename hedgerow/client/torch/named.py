"""The trainer named `"loop"`."""

from hedgerow.client.task import Task
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.client.trainers import Computing


def loop(task: Task, computing: Computing) -> TorchTrainer:
    """The reference trainer: one client after another, on the CPU unless a device is named."""
    return TorchTrainer(task, device=computing.on("cpu"), precision=computing.precision)
