"""Convolutional models of images and of series.

ReLU comes after max pooling: both orders give the same result, and this one works
on a quarter of the values.
"""

from collections import OrderedDict

from torch import nn


def cnn_fedavg(input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """The FedAvg paper's CNN: 5x5 convolutions of 32 and 64 channels, 512 units (1,663,370 parameters).

    `(n, channels, height, width) float32 -> (n, num_classes)` scores. Each
    convolution keeps the image's size and is followed by 2x2 max pooling; the
    paper's parameter count, on MNIST, implies the padding. Source:
    arXiv:1602.05629, section 3.

    >>> sum(p.numel() for p in cnn_fedavg((1, 28, 28), 10).parameters())
    1663370
    """
    channels, height, width = _image(input_shape, smallest=4)
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(channels, 32, 5, padding=2),
            pool1=nn.MaxPool2d(2),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(32, 64, 5, padding=2),
            pool2=nn.MaxPool2d(2),
            relu2=nn.ReLU(),
            flatten=nn.Flatten(),
            hidden=nn.Linear(64 * (height // 4) * (width // 4), 512),
            relu3=nn.ReLU(),
            linear=nn.Linear(512, num_classes),
        )
    )


def cnn_small(input_shape: tuple[int, ...], num_classes: int, hidden: int = 212) -> nn.Module:
    """A small CNN: 5x5 convolutions of 8 and 16 channels, 212 units (60,038 parameters on 1x28x28).

    `(n, channels, height, width) float32 -> (n, num_classes)` scores. The
    convolutions are not padded; each is followed by 2x2 max pooling.

    >>> sum(p.numel() for p in cnn_small((1, 28, 28), 10).parameters())
    60038
    """
    channels, height, width = _image(input_shape, smallest=16)
    rows, columns = ((((side - 4) // 2) - 4) // 2 for side in (height, width))
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(channels, 8, 5),
            pool1=nn.MaxPool2d(2),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(8, 16, 5),
            pool2=nn.MaxPool2d(2),
            relu2=nn.ReLU(),
            flatten=nn.Flatten(),
            hidden=nn.Linear(16 * rows * columns, hidden),
            relu3=nn.ReLU(),
            linear=nn.Linear(hidden, num_classes),
        )
    )


def cnn_1d(
    input_shape: tuple[int, ...], num_classes: int, width: int = 32, batch_norm: bool = False
) -> nn.Module:
    """A CNN of series, such as a watch's sensors: two 1-D convolutions, mean over time.

    `(n, channels, time) float32 -> (n, num_classes)` scores. The number of
    parameters does not depend on the length of the series. With `batch_norm`, each
    convolution is followed by a BatchNorm, for strategies that keep norms on the clients.

    >>> sum(p.numel() for p in cnn_1d((6, 100), 7).parameters())
    11751
    """
    if len(input_shape) != 2 or input_shape[1] < 4:
        raise ValueError(
            f"input_shape is {input_shape}; this model takes series (channels, time) of 4 steps or more"
        )

    def normed(name: str, channels: int) -> dict[str, nn.Module]:
        return {name: nn.BatchNorm1d(channels)} if batch_norm else {}

    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv1d(input_shape[0], width, 5, padding=2),
            **normed("norm1", width),
            pool1=nn.MaxPool1d(2),
            relu1=nn.ReLU(),
            conv2=nn.Conv1d(width, 2 * width, 5, padding=2),
            **normed("norm2", 2 * width),
            pool2=nn.MaxPool1d(2),
            relu2=nn.ReLU(),
            mean=nn.AdaptiveAvgPool1d(1),
            flatten=nn.Flatten(),
            linear=nn.Linear(2 * width, num_classes),
        )
    )


def _image(input_shape: tuple[int, ...], smallest: int) -> tuple[int, int, int]:
    if len(input_shape) != 3 or min(input_shape[1:]) < smallest:
        raise ValueError(
            f"input_shape is {input_shape}; this model takes images (channels, height, width) "
            f"of at least {smallest}x{smallest}"
        )
    channels, height, width = input_shape
    return channels, height, width
