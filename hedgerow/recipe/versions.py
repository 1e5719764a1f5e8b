"""Which versions of Hedgerow are compatible: those at most one minor version apart."""

import re
from importlib.metadata import version

_VERSION = r"(\d{1,4})\.(\d{1,4})(?:[.+-][0-9A-Za-z.+-]{1,40})?"


def own() -> str:
    """The installed version."""
    return version("hedgerow")


def supported(theirs: str, mine: str | None = None) -> bool:
    """Whether a device or server with another version can take part; `mine` defaults to the installed one.

    >>> [supported(theirs, "0.1.0") for theirs in ("0.0.9", "0.2.7", "0.3.0", "1.1.0", "0", "x.y")]
    [True, True, False, False, False, False]
    """
    numbers = [re.fullmatch(_VERSION, text) for text in (theirs, mine or own())]
    if None in numbers:
        return False
    (major, minor), (own_major, own_minor) = ([int(n) for n in found.groups()] for found in numbers if found)
    return major == own_major and abs(minor - own_minor) <= 1
