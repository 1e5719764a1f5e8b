"""Configure how the C library of a worker process handles freed memory."""

import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_MOST = 2**30
_AT_A_TIME = 2**26


def keep_freed_memory() -> bool:
    """Let this process keep freed memory, up to a GiB, for the next step; False if that cannot be set.

    glibc returns large blocks at once, and the kernel clears each page when it is
    allocated again: training then spends up to a fifth of its time on that. A
    process keeps as much memory as it had at its peak.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # another C library
        return False
    settings = ((_MMAP_THRESHOLD, _MOST), (_TRIM_THRESHOLD, _MOST), (_TOP_PAD, _AT_A_TIME))
    taken = [mallopt(option, value) == 1 for option, value in settings]
    return all(taken)
