"""Memory and cores that a node may use: set on the process before it becomes the node."""

import os
import resource
from collections.abc import Mapping

from hedgerow.client.limits import Limits

_MEGABYTE = 10**6
OF_LIBRARIES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables that say how many threads a numerical library starts."""


def confine(limits: Limits) -> Mapping[str, str]:
    """Limit what this process, and the program that it executes next, can allocate and compute on.

    An allocation beyond the limit is an error in that place: a round is given up, and the node goes on.
    The kernel counts what is mapped for writing (`RLIMIT_DATA`), not what is in use.

    Returns:
        Environment variables for that program, by which numerical libraries start no more threads.
    """
    if limits.memory is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        most = limits.memory * _MEGABYTE
        resource.setrlimit(resource.RLIMIT_DATA, (most if hard < 0 else min(most, hard), hard))
    if limits.threads is None:
        return {}
    if hasattr(os, "sched_setaffinity"):  # Linux; it holds for threads of any library
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: limits.threads])
    return dict.fromkeys(OF_LIBRARIES, str(limits.threads))
