"""Which layers are in training mode during fit: all, except those that the module's author keeps out."""

from torch import nn


class Modes:
    """Puts a module into training mode, except for the layers that its author keeps out of it.

    Those are the sublayers that the factory left in evaluation mode inside a module
    in training mode, and whatever the module's own `train()` decides. A module that
    is entirely in evaluation mode, as pretrained ones are distributed, trains as if
    it had been made in training mode.

    Args:
        module: as the factory made it.

    >>> net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2).eval())
    >>> Modes(net).train()
    >>> net.training, net[1].training
    (True, False)
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._still = [m for m in module.modules() if not m.training] if module.training else []

    def train(self) -> None:
        """Set the modes for `fit`."""
        self._module.train()
        for layer in self._still:
            layer.training = False
