"""A torch module as the flat vectors that the rest of Hedgerow uses.

How each tensor is treated is decided once, from the module that the factory
makes, never from a client's data (`hedgerow.client.torch.tensors`):

- Trainable parameters are `Model.parameters`. A tensor with two names (tied
  weights) occurs once, under its first name; a saved model has both.
- `Model.buffers` are the floating-point buffers that training changes. The
  server sends them, clients send them back, and they are averaged. These are
  the running statistics of torch's norms in training mode, the vectors of its
  spectral norm, and any other buffer that is all zeros or all ones when the
  module is made, as statistics are.
- `Model.constants` are frozen parameters (`requires_grad=False`) and all other
  floating-point buffers that the module saves: a mask of `-inf`, a table of
  positions, the statistics of a frozen BatchNorm. Every client gets them from
  the server; they are not sent back, averaged or bounded, and stay unchanged,
  bit for bit. A `fit` that changes one fails and names it.
- Integer and non-persistent buffers are never sent. Every `load` resets them to
  the values that they had when the module was made, and a saved model has those.

If these rules are wrong for a tensor, the task says so: `Task(statistics=
["codebook.*"])` for a buffer that starts at random and is learned, or for a frozen
teacher that follows the model; `Task(constants=["offset"])` for zeros that stay
zeros. Tensors of zeros or ones that never change are not harmed by averaging: the
mean of zeros is exactly zero, and the mean of ones exactly one.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList

from hedgerow.client.fitting import check_model
from hedgerow.client.torch.modes import Modes
from hedgerow.client.torch.tensors import Kinds, kinds_of, names_of_norms, ties_of, unsent_of
from hedgerow.types import Layout, Model, Vector
from hedgerow.types import Tensor as Slot


class FlatModule:
    """A module whose trainable parameters are views of one vector.

    Args:
        module: taken over; its parameters are moved into the vector.
        device: where to put it.
        decide: sorts its tensors into kinds.

    Raises:
        ValueError: it has no trainable parameters, or one that is not float32
            or has no shape yet; or `decide` refuses it.

    >>> flat = FlatModule(nn.Linear(2, 1), torch.device("cpu"))
    >>> _ = flat.load(Model(np.array([1, 2, 3], np.float32)))
    >>> flat.module(torch.tensor([10.0, 1.0])).tolist()
    [15.0]
    """

    def __init__(
        self, module: nn.Module, device: torch.device, decide: Callable[[nn.Module], Kinds] = kinds_of
    ) -> None:
        self.module = module.to(device)
        self._modes = Modes(module)
        self._modes.train()
        self.kinds = decide(module)
        tensors = {**dict(module.named_buffers()), **dict(module.named_parameters())}
        named, self._buffers, self._constants = (
            {name: _checked(tensors, name) for name in names if name in tensors}
            for names in (self.kinds.parameters, self.kinds.buffers, self.kinds.constants)
        )
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
        sent = {**self._buffers, **self._constants}
        self._unsent = [(b, b.detach().clone()) for n, b in module.named_buffers() if n not in sent]
        norms = names_of_norms(module)
        self.layout = Layout(
            _slots(named), _slots(self._buffers), _slots(self._constants),
            norms=tuple(name for name in (*named, *sent) if name in norms),
            unsent=unsent_of(module),
            ties=ties_of(module),
        )  # fmt: skip
        computed = [p for m in module.modules() if isinstance(m, ParametrizationList) for p in m.parameters()]
        self.gradient_size = len(self.vector) + sum(p.numel() for p in computed if not p.requires_grad)
        """Number of values in a sample's gradients, including weights computed from parameters."""
        self._norms = {
            name: m for name, m in module.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)
        }
        self.batch_norms = [n for n, m in self._norms.items() if m.training or m.running_mean is None]
        """Names of the layers that mix the samples of a batch in training."""
        # Shallow copies, so that attributes a module sets (a hidden state) do not reach the next client.
        self._attributes = [(m, dict(vars(m)), dict(m._buffers)) for m in module.modules()]

    def load(self, model: Model) -> Tensor:
        """Load a model's values, and reset everything else to a new module's state.

        Returns:
            The model's parameters, `(d,)`, which training does not change.
        """
        check_model(model, self.layout)
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
            for tensor, value in self._unsent:
                tensor.copy_(value)
            for tensors, values in ((self._buffers, model.buffers), (self._constants, model.constants)):
                offset = 0
                for tensor in tensors.values():
                    part = values[offset : offset + tensor.numel()]
                    tensor.copy_(_readable(part).view(tensor.shape))
                    offset += tensor.numel()
        return start

    def train(self) -> None:
        """Training mode, except for the layers that the module's author keeps out of it."""
        self._modes.train()

    def read_buffers(self) -> Vector:
        """The buffers that are averaged, `(b,) float32`."""
        return self._read(self._buffers)

    def read_constants(self) -> Vector:
        """The constants, `(c,) float32`."""
        return self._read(self._constants)

    def check_constants(self, model: Model, who: str) -> None:
        """Raise `ValueError` if training has changed constants of the model that was loaded."""
        now, offset, changed = self.read_constants(), 0, []
        for tensor in self.layout.constants:
            place = slice(offset, offset + tensor.size)
            if now[place].tobytes() != model.constants[place].tobytes():
                changed.append(tensor.name)
            offset += tensor.size
        if changed:
            raise ValueError(
                f"{who}: training changes {', '.join(map(repr, changed))}, constant to Hedgerow;"
                f" what should be averaged must be named: `Task(..., statistics={changed})`"
            )

    def _read(self, tensors: Mapping[str, Tensor]) -> Vector:
        if not tensors:
            return np.empty(0, np.float32)
        now = {**dict(self.module.named_buffers()), **dict(self.module.named_parameters())}
        return torch.cat([now[name].detach().reshape(-1) for name in tensors]).cpu().numpy()

    def take_gradients(self) -> list[Tensor]:
        """The gradients, which the caller may change; a parameter that was not used has zeros."""
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        for p in self.parameters:
            p.grad = None
        return gradients

    @contextmanager
    def lone_sample(self) -> Iterator[None]:
        """Make BatchNorm in training mode use its running statistics, if it has any."""
        changed = [m for m in self._norms.values() if m.training and m.running_mean is not None]
        for norm in changed:
            norm.training = False
        try:
            yield
        finally:
            for norm in changed:
                norm.training = True


def module_with(factory: Callable[[], nn.Module], model: Model) -> nn.Module:
    """A new module with a model's values, on the CPU; raises `ValueError` if they do not fit."""
    flat = FlatModule(factory(), torch.device("cpu"))
    flat.load(model)
    return flat.module


def _checked(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    tensor = tensors[name]
    what = "parameter" if isinstance(tensor, nn.Parameter) else "buffer"
    if nn.parameter.is_lazy(tensor):
        raise ValueError(
            f"{what} {name!r} has no shape until the module has seen data; "
            f"use a layer with explicit sizes (Linear, not LazyLinear)"
        )
    if tensor.dtype != torch.float32:
        kind = str(tensor.dtype).removeprefix("torch.")
        raise ValueError(f"{what} {name!r} is {kind}; it must be float32: call `.float()` on the module")
    return tensor


def _slots(named: Mapping[str, Tensor]) -> tuple[Slot, ...]:
    return tuple(Slot(name, tuple(t.shape)) for name, t in named.items())


def _readable(values: Vector) -> Tensor:
    # torch warns about read-only arrays, such as those from a file; this one is only read.
    return torch.from_numpy(np.require(values, requirements=["C", "W"]))
