"""How per-sample gradients are computed, which depends on the model and on what is installed.

Time is not measured at run time: the same seed must give the same run, and two
methods agree only up to rounding.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from hedgerow import generators
from hedgerow.client.torch import settings, with_opacus
from hedgerow.client.torch.layer_gradients import LayerGradients
from hedgerow.client.torch.layers import CannotSplit, Layers
from hedgerow.client.torch.module import FlatModule
from hedgerow.client.torch.samples import Loss, SampleGradients, rewinder
from hedgerow.client.torch.trial import form_of, made_up_nets
from hedgerow.types import LocalTraining, Samples

log = logging.getLogger("hedgerow")

_FEW, _MORE = 3, 5
"""Sizes of two batches: only the dimension that counts samples has both these lengths."""

_TOLERANCE = 1e-4
"""Relative tolerance for a sample's gradient: float32 rounding in another order."""


@dataclass(frozen=True)
class Way:
    """A method of computing per-sample gradients.

    Attributes:
        name: `"opacus"` or `"hedgerow"`, as in `LocalTraining.sample_gradients`.
        why: the reason, for people to read.
        gradients: what computes them.
    """

    name: str
    why: str
    gradients: SampleGradients | LayerGradients


@final
class SampleWays:
    """Chooses the method for one model.

    Args:
        build: makes the model.
        net: the module that is trained.
        loss: of the model.
        own: the method without Opacus.
    """

    def __init__(
        self, build: Callable[[], nn.Module], net: FlatModule, loss: Loss, own: SampleGradients
    ) -> None:
        self._build, self._net, self._loss, self._own = build, net, loss, own
        self._found: dict[object, Way] = {}

    def choose(self, local: LocalTraining, data: Samples) -> Way:
        """The method for `local.sample_gradients`; only the form of the data matters.

        If a model draws, or Opacus has no rule for a layer, the other method is used
        whatever was asked for: it works for all models, and has the same bound.
        """
        key = local.sample_gradients, form_of(data)
        if key not in self._found:
            self._found[key] = way = self._choose(local.sample_gradients, data)
            log.info("gradients of samples are computed by %s: %s", way.name, way.why)
        return self._found[key]

    def _choose(self, asked: str, data: Samples) -> Way:
        if asked == "hedgerow":
            return Way("hedgerow", "asked for", self._own)
        if not with_opacus.installed():
            return Way("hedgerow", "Opacus is not installed", self._own)
        if self._net.vector.device.type == "mps":
            return Way("hedgerow", "this device has no float64, which norms need", self._own)
        try:
            layers = with_opacus.opacus_layers(self._net, self._loss)
            if asked == "auto" and not with_opacus.faster(layers):
                return Way("hedgerow", "Opacus would not be faster with this many convolutions", self._own)
            with settings.seeded(0, self._net.vector.device):
                layers.take_axes(self._tried(data))
        except CannotSplit as error:
            return Way("hedgerow", f"Opacus cannot: {error}", self._own)
        why = "asked for" if asked == "opacus" else "faster for such layers"
        return Way("opacus", why, LayerGradients(self._net, layers, self._own))

    def _tried(self, data: Samples) -> Layers:
        """The layers of a model with made-up parameters, tried on made-up samples.

        Raises:
            CannotSplit: they fail.
        """
        failed: Exception = CannotSplit("there is nothing to try")
        for net, x, y in made_up_nets(self._build, self._net, data):
            try:
                layers = with_opacus.opacus_layers(net, self._loss)
                rewind = rewinder(net)
                layers.find_axes((x[:_FEW], y[:_FEW]), (x[:_MORE], y[:_MORE]))
                rewind()
                _compare(net, layers, self._loss, x[:_MORE], y[:_MORE])
                return layers
            except Exception as error:  # including errors of the user's model
                failed = error
        if isinstance(failed, CannotSplit):
            raise failed
        raise CannotSplit(f"the model fails on made-up samples ({type(failed).__name__})")


def _compare(net: FlatModule, layers: Layers, loss: Loss, x: Tensor, y: Tensor) -> None:
    """Raise `CannotSplit` if a sample's gradient differs from its gradient alone, or if anything is drawn."""
    rewind = rewinder(net)
    generators.mark()
    _, parts = layers.split(x, y)
    if generators.drawn():
        raise CannotSplit("the model draws, and each sample needs its own draws")
    together = torch.zeros(len(x), len(net.vector), device=x.device)
    for part in parts:
        outer = (
            part.right if part.left is None else torch.einsum("no,np->nop", part.left, part.right).flatten(1)
        )
        together[:, part.place] = outer
    for k, row in enumerate(together):
        rewind()
        loss(net.module(x[k : k + 1]), y[k : k + 1]).backward()  # type: ignore[no-untyped-call]
        alone = torch.cat([g.flatten() for g in net.take_gradients()])
        if not (row - alone).norm() <= _TOLERANCE * alone.norm():
            raise CannotSplit("a sample's gradient, layer by layer, differs from the one it has alone")
