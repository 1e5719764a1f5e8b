"""What a client does that it should not, and what is then said of it."""

import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.odd import exits, raises

MEMORY = 300 * 10**6
OWN_PROCESS = {"workers": 1, "client_timeout": 2.0, "memory_limit": MEMORY}
TWO_WORKERS = {**OWN_PROCESS, "workers": 2}

hoard: list[Any] = []
released = threading.Event()


def hangs() -> None:
    time.sleep(600)


def sys_exit() -> None:
    sys.exit(3)


def takes_all_memory() -> None:
    """In small pieces, and never lets them go."""
    while True:
        hoard.append(np.ones(10**6, np.uint8))


def takes_all_memory_in_torch() -> None:
    import torch

    while True:
        hoard.append(torch.ones(10**6))


def too_much_at_once() -> None:
    np.ones(10**15, np.uint8)


def spins() -> None:
    while not released.is_set():
        sum(range(1000))


def leaves_threads() -> None:
    """One that waits and is no daemon, and one that works."""
    threading.Thread(target=released.wait, args=(600,), name="forgotten").start()
    threading.Thread(target=spins, name="busy", daemon=True).start()


FAILS = [
    (raises, "ValueError: the sensor is unplugged"),
    (sys_exit, "SystemExit: 3"),
    (too_much_at_once, "MemoryError"),
]
ENDS = [
    (hangs, "it was stopped: it took longer than 2 s"),
    (exits, "its process ended with exit code 3"),
    (takes_all_memory, "it needs more memory than the 300 MB allowed"),
]


def limits(act: Callable[[], Any], workers: int) -> dict[str, Any]:
    """On a busy machine it takes some time to fill the memory."""
    return {**OWN_PROCESS, "workers": workers, "client_timeout": 2.0 if act is hangs else 20.0}


# With a limit, whoever runs out of memory has its process replaced.
FAILS_ANYWHERE = [
    *((act, says, {"workers": 1}) for act, says in FAILS),
    *((act, says, {"workers": 2}) for act, says in FAILS),
    *((act, says, limits(act, 1)) for act, says in [*FAILS[:2], *ENDS]),
    *((act, says, limits(act, 2)) for act, says in [*FAILS[:2], *ENDS]),
]
NAMES = [f"{act.__name__}-{len(options)}-{options['workers']}" for act, _, options in FAILS_ANYWHERE]
