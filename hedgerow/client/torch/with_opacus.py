"""The parts of Opacus in use: its rules for per-sample gradients of layers, and its own layers.

Opacus is an extra (`pip install "hedgerow[opacus]"`), and imported only where
clipped samples ask for it.
"""

from importlib.util import find_spec

from torch import nn

from hedgerow.client.torch.layers import Layers
from hedgerow.client.torch.module import FlatModule
from hedgerow.client.torch.samples import Loss

_CONVOLUTIONS = {"Conv1d", "Conv2d", "Conv3d"}


def installed() -> bool:
    """Whether Opacus is installed; does not import it."""
    return find_spec("opacus") is not None


def opacus_layers(net: FlatModule, loss: Loss) -> Layers:
    """The layers of a model, by Opacus's rules.

    Raises:
        CannotSplit: there is no rule for one of the layers.
    """
    from opacus import GradSampleModule
    from opacus.layers import DPGRU, DPLSTM, DPRNN
    from opacus.layers.dp_rnn import RNNLinear

    return Layers(net, loss, GradSampleModule.GRAD_SAMPLERS, (nn.Linear, RNNLinear), (DPRNN, DPLSTM, DPGRU))


def faster(layers: Layers) -> bool:
    """Whether Opacus is faster than `torch.func`, by a rule from `benchmarks/clipping` for all machines.

    A convolution takes about as long in both; the gain is in linear, recurrent and
    attention layers. So Opacus is faster if there is no convolution, or if at least
    half of the parameters are in linear layers.
    """
    return not layers.kinds & _CONVOLUTIONS or 2 * layers.linear >= layers.dimension
