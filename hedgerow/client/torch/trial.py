"""Whether a model treats each sample independently, tested on made-up samples.

A list of layers that do not (BatchNorm and its kin) would never be complete, but
their effect shows when a model is run. It is run here in a separate module, with
made-up samples and parameters: so the answer reveals nothing of a client's data, and
the server, which sends the parameters, has no influence on it.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from hedgerow.client.torch import settings
from hedgerow.client.torch.module import FlatModule
from hedgerow.client.torch.samples import Loss, SampleGradients, rewinder
from hedgerow.rng import generator
from hedgerow.types import Samples

log = logging.getLogger("hedgerow")

_ROWS = 4
_TOLERANCE = 1e-5
"""Relative tolerance. On the CPU there is no difference at all; a GPU may add in another order."""


@final
class Trial:
    """Tests a model once for each form of samples, and keeps the results.

    Args:
        build: makes the model.
        loss: of the model.
        device: to test it on.
    """

    def __init__(self, build: Callable[[], nn.Module], loss: Loss, device: torch.device) -> None:
        self._build, self._loss, self._device = build, loss, device
        self._found: dict[Any, str] = {}

    def check(self, net: FlatModule, data: Samples, who: str, *, noise: bool) -> None:
        """Refuse a model that is unsuitable for `clip_samples` or, with `noise`, for `sample_noise`.

        Args:
            net: the model to be trained, in its training modes.
            data: samples, of which only the form matters.
            who: their owner, for the error.
            noise: whether samples are clipped for privacy.

        Raises:
            ValueError: the samples of a batch change each other's outputs, or what is
                drawn for one depends on another. With `noise` also: training changes
                the model's buffers; a gradient depends on earlier samples, because the
                model draws from its own generator or keeps something; or the model
                fails on made-up samples.
        """
        if mixing := net.batch_norms:
            raise ValueError(
                f"{who}: clip_samples needs each sample's own gradient, and the BatchNorm layer "
                f"{mixing[0] or type(net.module).__name__!r} mixes the samples of a batch; "
                f"use GroupNorm or LayerNorm instead, or clip_gradient"
            )
        form = form_of(data), noise
        if form not in self._found:
            with settings.seeded(0, self._device):
                self._found[form] = self._try(net, data, noise=noise)
        if why := self._found[form]:
            raise ValueError(f"{who}: {why}")

    def _try(self, like: FlatModule, data: Samples, *, noise: bool) -> str:
        """Why the model is unsuitable; empty if it is suitable."""
        for net, x, y in made_up_nets(self._build, like, data):
            try:
                return self._judge(net, x, y, noise=noise)
            except Exception as error:  # of the user's model
                failed = error
        if not noise:
            return ""  # training on the client's own samples will report what is wrong
        log.error("the model or its loss fails on made-up samples: %s", failed)
        return (
            "sample_noise needs a model that can be tested on made-up samples, but this one fails on them;"
            " why is in this client's own log"
        )

    def _judge(self, net: FlatModule, x: Tensor, y: Tensor, *, noise: bool) -> str:
        if _mixes(net, x, self._device):
            return (
                "clip_samples needs each sample's own gradient, and the model mixes the samples of a batch"
                " (on made-up samples, an output, or what is drawn for it, changes with the others);"
                " use layers that treat each sample alone, or clip_gradient"
            )
        if noise and (changed := _changed(net, x)):
            return (
                f"sample_noise is set, but training changes the model's {changed!r};"
                " use a layer that keeps nothing of the samples that it has seen"
            )
        if noise and self._remembers(net, x, y):
            return (
                "sample_noise needs gradients that depend only on each sample, but the model or its loss"
                " draws from its own generator, or keeps something of earlier samples;"
                " draw from the global generators of torch, numpy or random"
            )
        return ""

    def _remembers(self, net: FlatModule, x: Tensor, y: Tensor) -> bool:
        """Whether a sample's gradient depends on earlier samples, with the same seed."""
        sums = SampleGradients(net, self._loss)
        first, _, again = (
            sums.fixed_sum(x[k:m], y[k:m], 1.0, lambda place: 1).double()
            for k, m in ((0, 1), (1, _ROWS), (0, 1))
        )
        return bool((first - again).norm() > _TOLERANCE * first.norm())


def form_of(data: Samples) -> tuple[Any, ...]:
    """Shapes and types of samples: all that a trial uses of them."""
    return data.x.shape[1:], data.x.dtype, data.y.shape[1:], data.y.dtype


def made_up_nets(
    build: Callable[[], nn.Module], like: FlatModule, data: Samples
) -> Iterator[tuple[FlatModule, Tensor, Tensor]]:
    """Models with made-up parameters, in the modes of a given one, each with made-up samples.

    Args:
        build: makes the model.
        like: has the modes and the device.
        data: samples, of which only the form matters.
    """
    device = like.vector.device
    for lowest in (0, 1):  # as indices of words or categories, either may be invalid
        net = FlatModule(build(), device)
        # A layer that starts at zero would hide the layers before it.
        shift = generator(0, "made-up parameters").normal(0, 0.05, len(net.vector))
        net.vector.add_(torch.from_numpy(shift).to(net.vector))
        for module, other in zip(net.module.modules(), like.module.modules(), strict=True):
            module.training = other.training
        yield net, *made_up(data, lowest, device)


def made_up(data: Samples, lowest: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Twice `_ROWS` samples of this form: normal numbers, or `lowest` and `lowest + 1`; targets are 1."""
    random, shape = generator(0, "made-up samples"), (2 * _ROWS, *data.x.shape[1:])
    floats = np.issubdtype(data.x.dtype, np.floating)
    x = random.normal(size=shape) if floats else random.integers(lowest, lowest + 2, shape)
    y = np.ones((2 * _ROWS, *data.y.shape[1:]), data.y.dtype)
    return torch.from_numpy(x.astype(data.x.dtype)).to(device), torch.from_numpy(y).to(device)


def _mixes(net: FlatModule, x: Tensor, device: torch.device) -> bool:
    """Whether any output value changes with the first sample, and also with the others.

    This does not depend on where the outputs have the samples. Draws are the same each
    time; a model for which they are not is not judged here.
    """
    rewind = rewinder(net)
    some, others = x[:_ROWS], x[_ROWS:]

    def outputs(*rows: Tensor) -> list[Tensor]:
        rewind()
        settings.seed(0, device)
        with torch.no_grad():
            return list(_tensors(net.module(torch.cat(rows))))

    same, again = outputs(some), outputs(some)
    changed = outputs(others[:1], some[1:]), outputs(some[:1], others[1:])
    rewind()
    for value, repeated, *moved in zip(same, again, *changed, strict=True):
        least = _TOLERANCE * value.abs().max()
        by_first, by_others = ((value - other).abs() > least for other in moved)
        if torch.equal(value, repeated) and bool((by_first & by_others).any()):
            return True
    return False


def _tensors(outputs: Any) -> Iterator[Tensor]:
    """All floating-point tensors in a model's outputs, except scalars such as a penalty for the batch."""
    if isinstance(outputs, Tensor):
        if outputs.is_floating_point() and outputs.dim() and outputs.numel():
            yield outputs.detach()
    elif isinstance(outputs, (tuple, list, Mapping)):
        for each in outputs.values() if isinstance(outputs, Mapping) else outputs:
            yield from _tensors(each)


def _changed(net: FlatModule, x: Tensor) -> str:
    """The parameter or buffer that a forward pass changes; empty if there is none."""
    rewind = rewinder(net)
    parameters, buffers = net.vector.clone(), net.read_buffers()
    net.module(x[:1])
    after, layout = np.concatenate([net.vector.cpu().numpy(), net.read_buffers()]), net.layout
    before = np.concatenate([parameters.cpu().numpy(), buffers])
    rewind()
    moved = np.flatnonzero(before.view(np.uint32) != after.view(np.uint32))  # bits, so that NaN equals NaN
    if not len(moved):
        return ""
    tensors = (*layout.parameters, *layout.buffers)
    ends = np.cumsum([int(np.prod(t.shape)) for t in tensors])
    return tensors[int(np.searchsorted(ends, moved[0], side="right"))].name
