"""Memory limits of a client's process, so that a client can crash nothing but itself."""

import sys
from contextlib import suppress
from pathlib import Path
from typing import final

from hedgerow import checks

# From -1000 to 1000; if the machine runs out of memory, the kernel kills the highest process first.
_FIRST_TO_GO = 1000


@final
class OutOfMemory(BaseException):
    """A client needed more memory than its process may have; the process is unreliable afterwards."""


def check_memory_limit(memory_limit: int | None) -> None:
    """Raise `ValueError` if it is not a number of bytes, or this system has no memory limits."""
    if memory_limit is None:
        return
    checks.whole(1, memory_limit=memory_limit)
    if sys.platform != "linux":
        raise ValueError(
            f"memory_limit is {memory_limit}; only Linux can limit a process's memory: leave it out"
        )


def limit_memory(more: int | None) -> None:
    """Let this process allocate `more` bytes beyond what it has, and let the kernel kill it before others.

    The limit is on data (RLIMIT_DATA): allocated, writable memory. Limiting the
    address space (RLIMIT_AS) would count the gigabytes that torch maps and never
    touches, and polling the resident size would be too late.
    """
    if sys.platform != "linux":
        return
    with suppress(OSError):  # some containers forbid it
        Path("/proc/self/oom_score_adj").write_text(f"{_FIRST_TO_GO}\n")
    if more is None:
        return
    import resource

    status = Path("/proc/self/status").read_text()
    now = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmData:"))
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = now + more if hard == resource.RLIM_INFINITY else min(now + more, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def lift_memory_limit() -> None:
    """Give this process the memory to report what happened."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def ran_out_of_memory(error: BaseException | None) -> bool:
    """Whether an exception, or one of its causes, says that memory ran out.

    >>> ran_out_of_memory(MemoryError()), ran_out_of_memory(ValueError("no data"))
    (True, False)
    """
    while error is not None:
        # torch raises a RuntimeError.
        if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
