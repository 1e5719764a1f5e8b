"""The trainers named `"batch"` and `"auto"`."""

from hedgerow.client.cohort.autotune.choice import Choice
from hedgerow.client.cohort.trainer import CohortTrainer
from hedgerow.client.task import Task
from hedgerow.client.torch.device import best_device
from hedgerow.client.trainers import Computing


def batch(task: Task, computing: Computing) -> CohortTrainer:
    """Several clients as one computation, on a GPU if a single process has one."""
    return _made(task, computing, "batch")


def auto(task: Task, computing: Computing) -> CohortTrainer:
    """Loop or batch, whichever a short measurement finds faster."""
    return _made(task, computing, "auto")


def _made(task: Task, computing: Computing, mode: str) -> CohortTrainer:
    choice = None if computing.kept is None else Choice.from_json(computing.kept)
    default = best_device() if computing.workers == 1 else "cpu"
    device = computing.on(choice.device if choice else default)
    return CohortTrainer(task, mode=mode, device=device, precision=computing.precision, choice=choice)
