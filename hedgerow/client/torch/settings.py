"""Settings for a while: torch's threads and the global generators are left as they were."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from hedgerow import generators


@contextmanager
def num_threads(number: int) -> Iterator[None]:
    """Have torch compute with `number` threads; one thread of this process at a time may be in here."""
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
    """What is drawn from the global generators from now on comes from `seed`."""
    generators.seed(seed)
    if device.type != "cpu":
        torch.manual_seed(seed)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """What is drawn from the global generators comes from `seed`; they are left as they were."""
    with generators.seeded(seed):
        if device.type == "cpu":  # not as below, which takes as long as a step of a small model
            yield
            return
        with torch.random.fork_rng(devices=[device.index or 0], device_type=device.type):
            torch.manual_seed(seed)
            yield
