"""How the C library of a worker process deals with memory that is freed."""

import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_MOST = 2**30
_AT_A_TIME = 2**26


def keep_freed_memory() -> bool:
    """Have this process keep what it frees, up to a GiB, for the next step; False where that cannot be set.

    glibc gives large blocks back at once, and the kernel clears each page when
    it is asked for again: training then spends up to a fifth of its time on
    that. What a process keeps is what it had at its peak.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # another C library
        return False
    settings = ((_MMAP_THRESHOLD, _MOST), (_TRIM_THRESHOLD, _MOST), (_TOP_PAD, _AT_A_TIME))
    taken = [mallopt(option, value) == 1 for option, value in settings]
    return all(taken)
