"""Models of fully connected layers."""

import math
from collections import OrderedDict

from torch import nn


def logistic(input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """Logistic regression: one linear layer on all inputs.

    `(n, *input_shape) float32 -> (n, num_classes)` scores.

    >>> sum(p.numel() for p in logistic((1, 28, 28), 10).parameters())
    7850
    """
    return nn.Sequential(
        OrderedDict(flatten=nn.Flatten(), linear=nn.Linear(math.prod(input_shape), num_classes))
    )


def mlp_2nn(input_shape: tuple[int, ...], num_classes: int, hidden: int = 200) -> nn.Module:
    """Two hidden layers of 200 units with ReLU: the FedAvg paper's 2NN (199,210 parameters on MNIST).

    `(n, *input_shape) float32 -> (n, num_classes)` scores. Source:
    arXiv:1602.05629, section 3.

    >>> sum(p.numel() for p in mlp_2nn((1, 28, 28), 10).parameters())
    199210
    """
    return nn.Sequential(
        OrderedDict(
            flatten=nn.Flatten(),
            hidden1=nn.Linear(math.prod(input_shape), hidden),
            relu1=nn.ReLU(),
            hidden2=nn.Linear(hidden, hidden),
            relu2=nn.ReLU(),
            linear=nn.Linear(hidden, num_classes),
        )
    )
