"""What the arguments of a run must be, so that whoever gives another is told before anything is done."""

from collections.abc import Callable
from types import NoneType
from typing import TYPE_CHECKING, Any

from hedgerow import checks
from hedgerow.strategies.strategy import Strategy
from hedgerow.types import Layout, Model

if TYPE_CHECKING:
    from flwr.serverapp import Grid


def check_parts(strategy: Strategy, layout: Layout) -> None:
    """Raises `ValueError` where one of them is of another kind."""
    checks.kind(Strategy, ", such as fedavg()", strategy=strategy)
    checks.kind(Layout, ", such as TorchTrainer(task).layout", layout=layout)


def check_grid(grid: "Grid") -> None:
    """Raises `ValueError` where it has not what a Flower `Grid` has."""
    checks.has(("get_node_ids", "push_messages", "pull_messages"), "a Flower Grid", grid=grid)


def check_run(
    num_rounds: int,
    seed: int,
    *,
    evaluate: Callable[[Model], Any] | None,
    evaluate_every: int,
) -> None:
    """Raises `ValueError` where an argument of a run is of another kind or out of range."""
    checks.whole(0, num_rounds=num_rounds)
    checks.whole(None, seed=seed)
    checks.kind((Callable, NoneType), " of a Model", evaluate=evaluate)
    checks.whole(1, evaluate_every=evaluate_every)


def check_sizes(model: Model, layout: Layout, name: str) -> None:
    """Raises `ValueError` where a model has other sizes than its layout; `name` is the argument's."""
    given = len(model.parameters), len(model.buffers), len(model.constants)
    wanted = layout.dimension, layout.buffer_size, layout.constant_size
    if given != wanted:
        raise ValueError(
            f"{name} has {given[0]} parameters, {given[1]} buffers and {given[2]} constants, and the layout"
            f" {wanted[0]}, {wanted[1]} and {wanted[2]}; give one of the same layout"
        )
