"""torch's settings for a while: its threads and its random numbers are left as they were."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

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


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """torch's own random numbers come from `seed`, and the caller's are left as they were.

    The generator is the whole process's: one thread at a time may be in here.
    """
    with _alone, _seeded(seed, device):
        yield


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    if device.type != "cpu":
        with torch.random.fork_rng(devices=[device.index or 0], device_type=device.type):
            torch.manual_seed(seed)
            yield
        return
    # Not as above, which looks for accelerators: it takes as long as a step of a small model.
    before = torch.default_generator.get_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.default_generator.set_state(before)
