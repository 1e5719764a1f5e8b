"""Residual networks with GroupNorm: without running statistics, only parameters are sent."""

from collections import OrderedDict

from torch import Tensor, nn


class Block(nn.Module):
    """Two 3x3 convolutions with GroupNorm, and a shortcut around them (arXiv:1512.03385, figure 2)."""

    def __init__(self, inputs: int, outputs: int, stride: int, groups: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(groups, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(groups, outputs)
        self.relu = nn.ReLU()
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """`(n, inputs, height, width) -> (n, outputs, height / stride, width / stride)`, rounded up."""
        inner = self.relu(self.norm1(self.conv1(x)))
        out: Tensor = self.relu(self.norm2(self.conv2(inner)) + self.shortcut(x))
        return out


def resnet_gn_tiny(
    input_shape: tuple[int, ...], num_classes: int, width: int = 16, groups: int = 4
) -> nn.Module:
    """A residual CNN of 8 layers with GroupNorm (77,562 parameters on 1x28x28).

    `(n, channels, height, width) float32 -> (n, num_classes)` scores, for any
    height and width. Three blocks of 16, 32 and 64 channels; the normalisation
    does not depend on the batch, which suits small clients with dissimilar data
    (arXiv:1910.00189).

    >>> sum(p.numel() for p in resnet_gn_tiny((1, 28, 28), 10).parameters())
    77562
    """
    if len(input_shape) != 3:
        raise ValueError(f"input_shape is {input_shape}; this model takes images (channels, height, width)")
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(input_shape[0], width, 3, padding=1, bias=False),
            norm=nn.GroupNorm(groups, width),
            relu=nn.ReLU(),
            block1=Block(width, width, 1, groups),
            block2=Block(width, 2 * width, 2, groups),
            block3=Block(2 * width, 4 * width, 2, groups),
            mean=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            linear=nn.Linear(4 * width, num_classes),
        )
    )
