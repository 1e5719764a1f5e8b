"""What a client's process may take, so that a client takes nothing down but itself."""

import sys
from contextlib import suppress
from pathlib import Path
from typing import final

from hedgerow import checks

# Of -1000 to 1000; the kernel ends the process with the most first, when the machine has no memory left.
_FIRST_TO_GO = 1000


@final
class OutOfMemory(BaseException):
    """A client needed more than its process may have; what is left in the process cannot be trusted."""


def check_memory_limit(memory_limit: int | None) -> None:
    """Raises `ValueError` where it is no number of bytes, or there is no such limit on this system."""
    if memory_limit is None:
        return
    checks.whole(1, memory_limit=memory_limit)
    if sys.platform != "linux":
        raise ValueError(
            f"memory_limit is {memory_limit}; only Linux can limit a process's memory: leave it out"
        )


def limit_memory(more: int | None) -> None:
    """Let this process allocate `more` bytes beyond what it has, and have it ended before others.

    The limit is that of data (RLIMIT_DATA): what is allocated and can be
    written to. Address space (RLIMIT_AS) would count the gigabytes that torch
    maps and never touches, and a look at the resident size from time to time
    would come too late.
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
    """Let this process say what happened."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def ran_out_of_memory(error: BaseException | None) -> bool:
    """Whether an exception, or one that led to it, says that there was no memory.

    >>> ran_out_of_memory(MemoryError()), ran_out_of_memory(ValueError("no data"))
    (True, False)
    """
    while error is not None:
        # torch raises a RuntimeError.
        if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
