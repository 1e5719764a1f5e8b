"""How a run reports failed clients on stderr: each cause once, and tracebacks only on demand."""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hedgerow.server.failures import cause
from hedgerow.simulation import clients
from hedgerow.types import RoundResult


def debugging() -> bool:
    """Whether tracebacks are wanted; child processes inherit it."""
    return os.environ.get("HEDGEROW_DEBUG", "0") not in ("", "0")


@contextmanager
def told_once(on_round: Callable[[RoundResult], None]) -> Iterator[Callable[[RoundResult], None]]:
    """Report dropped clients at the end of each round, instead of the clients' own logs."""
    logger, told = logging.getLogger(clients.__name__), set[str]()
    level = logger.level

    def is_other(record: logging.LogRecord) -> bool:
        return debugging() or not hasattr(record, clients.CAUSE)

    def tell(result: RoundResult) -> None:
        for name, reason in result.dropped.items():
            what = cause(reason, name)
            if what not in told:
                told.add(what)
                line = f"round {result.round}: {name} does not count: {' '.join(reason.split())}"
                print(line, file=sys.stderr, flush=True)
        on_round(result)

    logger.addFilter(is_other)
    logger.setLevel(logging.DEBUG if debugging() else level)
    try:
        yield tell
    finally:
        logger.removeFilter(is_other)
        logger.setLevel(level)
