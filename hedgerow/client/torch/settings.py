"""Temporary settings: torch's threads and the global generators are restored afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from hedgerow import generators


@contextmanager
def num_threads(number: int) -> Iterator[None]:
    """Have torch compute with `number` threads; only one thread of this process may be in here at a time."""
    with generators.alone():
        before = torch.get_num_threads()
        if before == number:
            yield
            return
        torch.set_num_threads(number)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def seed(seed: int, device: torch.device) -> None:
    """Seed the global generators."""
    generators.seed(seed)
    if device.type != "cpu":
        torch.manual_seed(seed)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the global generators, and restore them afterwards."""
    with generators.seeded(seed):
        if device.type == "cpu":  # the way below takes as long as a step of a small model
            yield
            return
        with torch.random.fork_rng(devices=[device.index or 0], device_type=device.type):
            torch.manual_seed(seed)
            yield
