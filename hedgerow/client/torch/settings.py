"""Settings for a while: torch's threads and the global generators are left as they were."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from hedgerow import generators

_alone = threading.RLock()


def _again() -> None:
    # The thread that held it is not in the new process.
    global _alone
    _alone = threading.RLock()


os.register_at_fork(after_in_child=_again)


@contextmanager
def num_threads(number: int) -> Iterator[None]:
    """torch computes with so many threads; one thread of this process at a time may be in here."""
    with _alone:
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
    """What is drawn from the global generators comes from `seed`; they are left as they were.

    They are the whole process's: one thread at a time may be in here.
    """
    with _alone, generators.seeded(seed):
        if device.type == "cpu":  # not as below, which takes as long as a step of a small model
            yield
            return
        with torch.random.fork_rng(devices=[device.index or 0], device_type=device.type):
            torch.manual_seed(seed)
            yield
