"""Samples whose values may be out of a model's bounds are tried on the CPU, and all others are not."""

import logging

import numpy as np
import pytest
import torch
from torch import nn

from hedgerow.client.task import Task
from hedgerow.client.torch.bounds import Bounds
from hedgerow.client.torch.device import CPU
from hedgerow.client.torch.loss import Objective
from hedgerow.types import Samples

WORDS, CLASSES = 9, 4


class Text(nn.Module):
    """A table of words; counts how often it is asked."""

    asked = 0

    def __init__(self) -> None:
        super().__init__()
        self.table, self.linear = nn.Embedding(WORDS, 3), nn.Linear(3, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        Text.asked += 1
        return self.linear(self.table(x).mean(1))


class Hashed(Text):
    """Takes any word."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x % WORDS)


def texts(*, word: int = 0, label: int = 0) -> Samples:
    random = np.random.default_rng(0)
    x, y = random.integers(WORDS, size=(600, 5)), random.integers(CLASSES, size=600)
    x[500, 2], y[550] = word, label
    return Samples(x, y)


def bounds(model=Text, loss=None) -> Bounds:
    return Bounds(model, Objective(Task(model, loss), CPU).loss)


@pytest.mark.parametrize(
    "wrong", [{"word": WORDS}, {"word": -1}, {"label": CLASSES}, {"label": -1}, {"word": 99, "label": 7}]
)
def test_what_is_out_of_bounds_is_refused_and_only_the_clients_own_log_says_what(wrong, caplog) -> None:
    with caplog.at_level(logging.ERROR), pytest.raises(ValueError, match="client 'a'") as refused:
        bounds().check(texts(**wrong), "client 'a'")
    assert not any(character.isdigit() for character in str(refused.value))
    assert "out of " in caplog.text


@pytest.mark.parametrize("data", [texts(), texts(word=WORDS - 1, label=CLASSES - 1)])
def test_what_is_in_bounds_costs_one_sample_of_the_first_client(data) -> None:
    some, before = bounds(), Text.asked
    for _ in range(3):
        some.check(data, "")
    assert Text.asked - before == 1


def test_what_only_seems_out_of_bounds_is_taken() -> None:
    bounds(Hashed).check(texts(word=10**6), "")
    bounds().check(texts(label=-100), "")  # cross entropy leaves it out


def test_without_indices_and_classes_there_is_nothing_to_ask() -> None:
    def never() -> nn.Module:
        raise AssertionError("no model is needed")

    floats = np.ones((4, 2), np.float32)
    Bounds(never, nn.MSELoss()).check(Samples(floats, floats), "")
