"""The operations of training on a sample, counted on the model."""

import numpy as np
from torch.utils.flop_counter import FlopCounterMode

from hedgerow import generators
from hedgerow.client.task import Task
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.types import LocalTraining, Samples

_FEW = 2  # of one sample alone, batch normalisation has no variance


def flops_per_example(task: Task, samples: Samples) -> float:
    """Float32 operations of one sample in a step, forward and backward, by torch's own counter.

    Matrix products and convolutions are counted, a multiplication and an addition as two; what works on
    single values is not.

    Args:
        task: whose model is counted.
        samples: of which only the form matters; at least one.

    Raises:
        ValueError: nothing in the model is counted, or it cannot be trained.

    >>> from torch import nn
    >>> flops_per_example(Task(lambda: nn.Linear(5, 3)), Samples(np.zeros((4, 5)), np.zeros(4, np.int64)))
    60.0
    """
    few = samples.take(np.resize(np.arange(len(samples)), _FEW))
    with generators.undisturbed():
        trainer = TorchTrainer(task, device="cpu")
        model, local = trainer.initial(0), LocalTraining(batch_size=_FEW, max_steps=1)
        with FlopCounterMode(display=False) as counter:
            trainer.fit(model, few, local, seed=0, round=1, client="")
    if not (counted := counter.get_total_flops()):
        raise ValueError(
            "flops_per_example must be given: of this model's operations torch counts none; give those of"
            " training on one sample"
        )
    return float(counted / _FEW)
