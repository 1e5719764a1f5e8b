"""Which module of the model an operator comes from."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, final

from torch import fx, nn
from torch.fx.experimental.proxy_tensor import get_proxy_mode

_MODULE = "hedgerow_module"


@final
class Origins:
    """Marks nodes with the module that is at work when they are made.

    Args:
        module: the model; its forward passes are followed while `follow` is entered.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._inside: list[str] = []
        self._last: Any = None

    @property
    def current(self) -> str:
        """Name of the module at work, empty where none is."""
        return self._inside[-1] if self._inside else ""

    @contextmanager
    def follow(self) -> Iterator[None]:
        """Follow the model's forward passes, by hooks that are taken off afterwards."""
        handles = []
        for name, each in self._module.named_modules():
            told = told_as(name, each)
            handles.append(each.register_forward_pre_hook(lambda _, __, told=told: self.enter(told)))
            handles.append(each.register_forward_hook(lambda _, __, ___: self.leave()))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def enter(self, told: str) -> None:
        """From here on, nodes are of this module."""
        self._mark()
        self._inside.append(told)

    def leave(self) -> None:
        """From here on, nodes are of the module that called it."""
        self._mark()
        self._inside.pop()

    def _mark(self) -> None:
        mode = get_proxy_mode()
        if mode is None:
            return
        graph = mode.tracer.graph
        for node in reversed(graph.nodes):
            if node is self._last:
                break
            if self._inside:
                node.meta.setdefault(_MODULE, self.current)
        self._last = next(iter(reversed(graph.nodes)), None)


def told_as(name: str, module: nn.Module) -> str:
    """A module in an error: `conv1 (Conv2d)`."""
    return f"{name or 'the model'} ({type(module).__name__})"


def origin_of(node: fx.Node) -> str:
    """The module that a node comes from; of a backward pass, that of the nearest node before it."""
    seen, waiting = {node}, [node]
    while waiting:
        found = waiting.pop(0)
        if told := found.meta.get(_MODULE):
            return told if found is node else f"the backward pass of {told}"
        for before in found.all_input_nodes:
            if before not in seen:
                seen.add(before)
                waiting.append(before)
    return "the loss, or the step"


class Replayed(fx.Interpreter):
    """Runs a graph once more, with each node's module at work."""

    def __init__(self, graph: fx.GraphModule, origins: Origins) -> None:
        super().__init__(graph)
        self._origins = origins

    def run_node(self, n: fx.Node) -> Any:
        """As it is, within the node's module."""
        told = n.meta.get(_MODULE)
        if told is None:
            return super().run_node(n)
        self._origins.enter(told)
        try:
            return super().run_node(n)
        finally:
            self._origins.leave()
