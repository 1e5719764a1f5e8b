"""Temporary settings: torch's threads, how a GPU computes, and the global generators; all are restored."""

import re
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

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


def computing(threads: int, device: torch.device) -> AbstractContextManager[None]:
    """Compute with so many threads; on an NVIDIA GPU in float32, the same bits each time.

    torch's own defaults there are TF32, 10 bits of a mantissa, for convolutions and recurrent layers, and
    whatever algorithm is fastest. What it has no repeatable form of still works, with torch's warning.
    """
    return num_threads(threads) if device.type != "cuda" else _on_a_gpu(threads)


@contextmanager
def _on_a_gpu(threads: int) -> Iterator[None]:
    mode, filling = torch.get_deterministic_debug_mode(), torch.utils.deterministic
    filled = filling.fill_uninitialized_memory  # type: ignore[attr-defined]
    exact = torch.backends.cudnn.flags(
        enabled=torch.backends.cudnn.enabled, benchmark=False, deterministic=True, allow_tf32=False
    )
    fast = torch.backends.mha.get_fastpath_enabled()
    _expect_scattered_weights()
    # Of attention's kernels, only the one of plain products gives the same gradients every time.
    with num_threads(threads), exact, sdpa_kernel(SDPBackend.MATH):
        torch.set_deterministic_debug_mode(max(mode, 1))  # 1 warns, 2 raises
        filling.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        # Its kernels read 16 bytes at a time, and fail on weights that start in between.
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)
            torch.set_deterministic_debug_mode(mode)
            filling.fill_uninitialized_memory = filled  # type: ignore[attr-defined]


def _expect_scattered_weights() -> None:
    """Ignore cuDNN's warning about them, in this process: they lie in the vector of all parameters.

    `catch_warnings` would restore it, and have torch's other warnings shown again for every client.
    """
    if _SCATTERED not in [given[1] for given in warnings.filters]:
        warnings.filterwarnings("ignore", _SCATTERED.pattern)


_SCATTERED = re.compile("RNN module weights are not part of single contiguous chunk", re.IGNORECASE)


def seed(seed: int, device: torch.device) -> None:
    """Seed the global generators."""
    generators.seed(seed)
    if device.type not in _GENERATORS_OF:
        torch.manual_seed(seed)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the global generators, and restore them afterwards."""
    with generators.seeded(seed):
        if device.type in _GENERATORS_OF:  # the way below takes as long as a step of a small model
            yield
            return
        with torch.random.fork_rng(devices=[device.index or 0], device_type=device.type):
            torch.manual_seed(seed)
            yield


_GENERATORS_OF = ("cpu", "cuda")
"""Types of devices whose generators are among those of `hedgerow.generators`."""
