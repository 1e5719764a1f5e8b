"""What is learned: a model, its loss and what to measure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


def accuracy(outputs: Any, targets: Any) -> Any:
    """Whether the class with the highest score is the right one, for each sample.

    Args:
        outputs: `(n, classes)` scores.
        targets: `(n,)` classes.

    Returns:
        `(n,) bool`.
    """
    return outputs.argmax(1) == targets


@dataclass(frozen=True)
class Task:
    """A model, its loss and what to measure.

    They may draw from the global generators of torch, numpy and `random`,
    which are seeded for each client and round. A generator of their own is not.

    Attributes:
        model: makes a fresh `torch.nn.Module`: a class or a function, never a
            module. It is called more than once and must make a new one each time.
        loss: `(outputs, targets) -> scalar`, the mean over the batch. `None`
            is cross entropy on scores `(n, classes)`.
        metrics: `{name: (outputs, targets) -> (n,)}`, one value a sample; what
            is reported is the mean over the samples. `"loss"` is always
            reported and cannot be a name here.

    Raises:
        ValueError: `model`, `loss` or a metric is not what it must be.

    >>> Task(model=dict).metrics.keys()
    dict_keys(['accuracy'])
    """

    model: Callable[[], Any]
    loss: Callable[[Any, Any], Any] | None = None
    metrics: Mapping[str, Callable[[Any, Any], Any]] = field(default_factory=lambda: {"accuracy": accuracy})

    def __post_init__(self) -> None:
        # A module is callable too, but calling it is a forward pass. (Told by `state_dict`: no torch here.)
        is_module = hasattr(self.model, "state_dict") and not isinstance(self.model, type)
        if is_module or not callable(self.model):
            kind = type(self.model).__name__
            raise ValueError(
                f"model is a {kind} object; it must be a class or function that makes a torch.nn.Module, "
                f"such as `Task(MyModel)` or `Task(lambda: MyModel(10))`"
            )
        if self.loss is not None and not callable(self.loss):
            raise ValueError(f"loss is {self.loss!r}; it must be a function of outputs and targets, or None")
        for name, metric in self.metrics.items():
            if name == "loss" or not callable(metric):
                raise ValueError(
                    f"metrics has {name!r}: {metric!r}; a metric is a function of outputs and targets, "
                    f"under any name but 'loss'"
                )
