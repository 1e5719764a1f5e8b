"""Checks of a run's arguments, made before anything is started."""

from collections.abc import Callable
from types import NoneType
from typing import TYPE_CHECKING, Any

from hedgerow import checks
from hedgerow.strategies.strategy import Strategy
from hedgerow.types import Layout, Model

if TYPE_CHECKING:
    from flwr.serverapp import Grid


def check_parts(strategy: Strategy, layout: Layout) -> None:
    """Raise `ValueError` if one of them has the wrong type."""
    checks.kind(Strategy, ", such as fedavg()", strategy=strategy)
    checks.kind(Layout, ", such as TorchTrainer(task).layout", layout=layout)


def check_grid(grid: "Grid") -> None:
    """Raise `ValueError` if the object lacks the methods of a Flower `Grid`."""
    checks.has(("get_node_ids", "push_messages", "pull_messages"), "a Flower Grid", grid=grid)


def check_run(
    num_rounds: int,
    seed: int,
    *,
    evaluate: Callable[[Model], Any] | None,
    evaluate_every: int,
) -> None:
    """Raise `ValueError` if an argument of a run has the wrong type or is out of range."""
    checks.whole(0, num_rounds=num_rounds)
    checks.whole(None, seed=seed)
    checks.kind((Callable, NoneType), " of a Model", evaluate=evaluate)
    checks.whole(1, evaluate_every=evaluate_every)


def check_sizes(model: Model, layout: Layout, name: str) -> None:
    """Raise `ValueError` if the sizes of a model and its layout differ; `name` is the argument's."""
    given = len(model.parameters), len(model.buffers), len(model.constants)
    wanted = layout.dimension, layout.buffer_size, layout.constant_size
    if given != wanted:
        raise ValueError(
            f"{name} has {given[0]} parameters, {given[1]} buffers and {given[2]} constants, but the layout"
            f" has {wanted[0]}, {wanted[1]} and {wanted[2]}; give a model of the same layout"
        )
