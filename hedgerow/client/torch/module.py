"""A torch module as the two flat vectors that the rest of Hedgerow knows.

What is sent and what is not:

- Trainable parameters are `Model.parameters`. A tensor with two names (tied
  weights) is there once, under its first name.
- Floating-point buffers that the module saves (BatchNorm's running statistics)
  are `Model.buffers`, and so are frozen parameters (`requires_grad=False`):
  they are part of the model, and every client must have the same ones. Frozen
  values too large to send can be non-persistent buffers that the factory makes.
- Integer and non-persistent buffers are never sent. Every `load` gives them the
  values that they had when the module was made.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from hedgerow.types import Layout, Model, Vector
from hedgerow.types import Tensor as Slot


class FlatModule:
    """A module whose trainable parameters are views of one vector.

    Args:
        module: taken over: its parameters are moved into the vector.
        device: where to put it.

    Raises:
        ValueError: it has no trainable parameters, or one that is not float32
            or has no shape yet.

    >>> flat = FlatModule(nn.Linear(2, 1), torch.device("cpu"))
    >>> _ = flat.load(Model(np.array([1, 2, 3], np.float32)))
    >>> flat.module(torch.tensor([10.0, 1.0])).tolist()
    [15.0]
    """

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        self.module = module.to(device)
        named = {n: _checked("parameter", n, p) for n, p in module.named_parameters() if p.requires_grad}
        if not named:
            raise ValueError(
                f"{type(module).__name__} has no trainable parameters; there is nothing to learn"
            )
        self.parameters = list(named.values())
        self.vector = torch.cat([p.detach().reshape(-1) for p in self.parameters])
        offset = 0
        for p in self.parameters:
            p.data = self.vector[offset : offset + p.numel()].view(p.shape)
            offset += p.numel()
        self._sent, self._constants = _split_buffers(module)
        self.layout = Layout(_slots(named), _slots(self._sent))
        self._norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        # Shallow copies, so that nothing a module hangs on itself (a hidden state) reaches the next client.
        self._attributes = [(m, dict(vars(m)), dict(m._buffers)) for m in module.modules()]

    def load(self, model: Model) -> Tensor:
        """Take over the model's values, and the state a fresh module has.

        Returns:
            The model's parameters, `(d,)`, which training does not change.
        """
        _check_fits("parameters", model.parameters, self.layout.dimension)
        _check_fits("buffers", model.buffers, self.layout.buffer_size)
        for module, attributes, buffers in self._attributes:
            vars(module).update(attributes)
            for name in vars(module).keys() - attributes.keys():
                del vars(module)[name]
            module._buffers.update(buffers)
        with torch.no_grad():
            start = _readable(model.parameters).to(self.vector.device)
            self.vector.copy_(start)
            for p in self.parameters:
                p.grad = None
                p.requires_grad_(True)
            for tensor, value in self._constants:
                tensor.copy_(value)
            offset = 0
            for tensor in self._sent.values():
                part = model.buffers[offset : offset + tensor.numel()]
                tensor.copy_(_readable(part).view(tensor.shape))
                offset += tensor.numel()
        return start

    def read_buffers(self) -> Vector:
        """The buffers that are sent, `(b,) float32`."""
        if not self._sent:
            return np.empty(0, np.float32)
        now = {**dict(self.module.named_buffers()), **dict(self.module.named_parameters())}
        return torch.cat([now[name].detach().reshape(-1) for name in self._sent]).cpu().numpy()

    def take_gradients(self) -> list[Tensor]:
        """The gradients, for the caller to change; a parameter that was not used has zeros."""
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        for p in self.parameters:
            p.grad = None
        return gradients

    @property
    def batch_norms(self) -> list[str]:
        """Names of the layers whose training statistics mix the samples of a batch."""
        return [name for name, m in self.module.named_modules() if m in self._norms]

    @contextmanager
    def lone_sample(self) -> Iterator[None]:
        """BatchNorm uses its running statistics."""
        for norm in self._norms:
            norm.eval()
        yield
        for norm in self._norms:
            norm.train()


def _split_buffers(module: nn.Module) -> tuple[dict[str, Tensor], list[tuple[Tensor, Tensor]]]:
    """The tensors that are sent, and those that are not with the values to restore."""
    saved = module.state_dict().keys()
    sent, constants = {}, []
    for name, buffer in module.named_buffers():
        if name in saved and buffer.is_floating_point():
            sent[name] = _checked("buffer", name, buffer)
        else:
            constants.append((buffer, buffer.detach().clone()))
    frozen = {n: _checked("parameter", n, p) for n, p in module.named_parameters() if not p.requires_grad}
    return {**sent, **frozen}, constants


def _checked(what: str, name: str, tensor: Tensor) -> Tensor:
    if nn.parameter.is_lazy(tensor):
        raise ValueError(
            f"{what} {name!r} has no shape until the module has seen data; "
            f"use the layer that is told its sizes (Linear, not LazyLinear)"
        )
    if tensor.dtype != torch.float32:
        kind = str(tensor.dtype).removeprefix("torch.")
        raise ValueError(f"{what} {name!r} is {kind}; it must be float32: call `.float()` on the module")
    return tensor


def _slots(named: Mapping[str, Tensor]) -> tuple[Slot, ...]:
    return tuple(Slot(name, tuple(t.shape)) for name, t in named.items())


def _check_fits(what: str, values: Vector, length: int) -> None:
    if values.shape != (length,) or values.dtype != np.float32:
        raise ValueError(
            f"the model's {what} are {values.dtype} of shape {values.shape}; "
            f"this trainer's layout has float32 of shape ({length},)"
        )


def _readable(values: Vector) -> Tensor:
    # torch warns about an array it could write to by mistake, such as one from a file; it is only read here.
    return torch.from_numpy(np.require(values, requirements=["C", "W"]))
