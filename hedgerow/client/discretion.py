"""What a device's errors tell others: a code and a fixed sentence; the details stay in its own log."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from hedgerow.client.policy import AgainstPolicy
from hedgerow.secure.errors import Refused

log = logging.getLogger("hedgerow")


class ClientFailed(Refused):
    """This client could not answer; why is in its own log."""


@contextmanager
def discreet(wanted: bool = True) -> Iterator[None]:
    """Replace an error by its code and a sentence that is the same for all devices and data.

    The code is the name of the error's class, and the sentence is the first line of
    the class's docstring. A refusal by the device's policy still names the rule.

    >>> with discreet():
    ...     raise OSError("/data/jane-doe.csv is not there")
    Traceback (most recent call last):
    ...
    hedgerow.client.discretion.ClientFailed: This client could not answer; why is in its own log.
    """
    try:
        yield
    except AgainstPolicy as error:
        log.warning("refused: %s", error)
        raise
    except Exception as error:
        if not wanted:
            raise
        kind = type(error) if isinstance(error, Refused) else ClientFailed
        log.log(
            kind.level, "this client did not answer: %s: %s", type(error).__name__, error,
            exc_info=error if kind.level >= logging.ERROR else None,
        )  # fmt: skip
        raise kind((kind.__doc__ or "").partition("\n")[0]) from None
