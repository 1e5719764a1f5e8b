"""What is learned: a model, its loss and its metrics."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any

from hedgerow import checks
from hedgerow.wording import shown

_NOT_COUNTED = -100
"""A target that torch's cross entropy ignores."""

Metric = Callable[[Any, Any], Any]
"""(outputs, targets) -> one value for each sample, `(n,)`."""


def accuracy(outputs: Any, targets: Any) -> Any:
    """The fraction of correct classes in each sample: 0 or 1 if a sample has one class.

    For scores `(n, classes)` or `(n, classes, ...)`, the highest names the class.
    For one column, `(n,)`, `(n, 1)` or `(n, 1, ...)`, a score above 0 means class
    1, as with `binary_cross_entropy_with_logits`. For probabilities, after a
    sigmoid, give the task a metric with your own threshold:
    `{"accuracy": lambda p, y: (p[:, 0] > 0.5) == (y == 1)}`.

    Args:
        outputs: torch tensor of scores.
        targets: classes, of the outputs' shape without the dimension of classes
            (for one column 0 and 1, with or without that dimension), where -100 is
            ignored; or the probabilities of the classes, of the outputs' shape.

    Returns:
        `(n,)` float32.

    Raises:
        ValueError: the targets have another form.

    >>> import torch
    >>> accuracy(torch.tensor([[0.1, 0.7], [3.0, 2.0]]), torch.tensor([1, 1])).tolist()
    [1.0, 0.0]
    >>> accuracy(torch.tensor([[-0.3], [2.0]]), torch.tensor([0, 1])).tolist()
    [1.0, 1.0]
    """
    classes = tuple(outputs.shape[:1]) + tuple(outputs.shape[2:])
    same, of_classes = targets.shape == outputs.shape, tuple(targets.shape) == classes
    if outputs.dim() < 2 or outputs.shape[1] == 1:
        if not (same or of_classes) or not ((targets == 0) | (targets == 1)).all():
            raise ValueError(
                f"accuracy of one column of outputs {tuple(outputs.shape)} needs targets 0 or 1 for each;"
                " if the model predicts numbers, leave it out: `Task(..., metrics={})`"
            )
        right = (outputs > 0).flatten() == (targets == 1).flatten()
        return right.reshape(len(outputs), -1).float().mean(1)
    if of_classes:
        counted = (targets != _NOT_COUNTED).reshape(len(targets), -1)
        right = (outputs.argmax(1) == targets).reshape(len(targets), -1) & counted
        return right.sum(1) / counted.sum(1).clamp(min=1)
    if not same or not targets.is_floating_point() or not ((targets.sum(1) - 1).abs() < 1e-3).all():
        raise ValueError(
            f"accuracy needs targets {classes}, the class of each, or probabilities {tuple(outputs.shape)}"
            f" that add up to 1, and was given {tuple(targets.shape)}; for several labels a sample, give the"
            " task a metric of your own"
        )
    return (outputs.argmax(1) == targets.argmax(1)).reshape(len(outputs), -1).float().mean(1)


@checks.arguments
@dataclass(frozen=True)
class Task:
    """A model, its loss and its metrics.

    They may draw from the global generators of torch, numpy and `random`, which
    are seeded for each client and round. Generators of their own are not seeded.

    Attributes:
        model: a class or a function that makes a `torch.nn.Module`, never a
            module. It is called more than once and must make a new one each time.
        loss: `(outputs, targets) -> scalar`, the mean over the batch. `None`
            is cross entropy on scores `(n, classes)` or `(n, classes, ...)`.
        metrics: `{name: (outputs, targets) -> (n,)}`, one value for each sample;
            the mean over the samples is reported. `"loss"` is always reported
            and cannot be a name here. `None` is `accuracy` with the default
            loss, and nothing with a loss of your own: what its outputs mean is
            not guessed.
        statistics: names, or patterns such as `"codebook.*"`, of buffers and
            frozen parameters that training changes and that should be averaged,
            if the rules of `hedgerow.client.torch.module` miss them.
        constants: names or patterns of those that training does not change.

    Raises:
        ValueError: an attribute is not what it must be.

    >>> Task(model=dict).measures.keys()
    dict_keys(['accuracy'])
    >>> Task(model=dict, loss=max).measures.keys()
    dict_keys([])
    """

    model: Callable[[], Any]
    loss: Callable[[Any, Any], Any] | None = None
    metrics: Mapping[str, Metric] | None = None
    statistics: Sequence[str] = ()
    constants: Sequence[str] = ()

    def __post_init__(self) -> None:
        # A module is callable too, but calling it is a forward pass. (Told by `state_dict`: no torch here.)
        is_module = hasattr(self.model, "state_dict") and not isinstance(self.model, type)
        if is_module or not callable(self.model):
            kind = type(self.model).__name__
            raise ValueError(
                f"model is a {kind} object; it must be a class or function that makes a torch.nn.Module, "
                f"such as `Task(MyModel)` or `Task(lambda: MyModel(10))`"
            )
        if self.loss is not None and (isinstance(self.loss, type) or not callable(self.loss)):
            raise ValueError(
                f"loss is {shown(self.loss)}; it must be a function of outputs and targets, such as"
                " squared_error or torch.nn.MSELoss(), or None"
            )
        checks.kind((Mapping, NoneType), ", such as {'accuracy': accuracy}", metrics=self.metrics)
        for name, metric in self.measures.items():
            if name == "loss" or not isinstance(name, str) or not callable(metric):
                raise ValueError(
                    f"metrics has {name!r}: {shown(metric)}; a metric is a function of outputs and"
                    " targets, under any name but 'loss'"
                )
        for argument in ("statistics", "constants"):
            names = getattr(self, argument)
            if not isinstance(names, tuple | list) or not all(isinstance(name, str) for name in names):
                raise ValueError(
                    f"{argument} is {shown(names)}; it must be a list of names, such as ['codebook.*']"
                )

    @property
    def measures(self) -> Mapping[str, Metric]:
        """`metrics`, or the default if it is `None`."""
        if self.metrics is not None:
            return self.metrics
        return {"accuracy": accuracy} if self.loss is None else {}
