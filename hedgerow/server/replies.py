"""What a client's error reply says."""

import re

from flwr.app import Error

NO_REPLY = "it did not reply in time"
TOO_LATE = "it did not reply in time: enough others had"
NOT_THERE = "it is not connected"

_NOT_REACHED = "it cannot be reached"
_TRANSPORT = (3, 4, 5)  # Flower's codes of a message, a reply or a node that is not available


_MOST_LETTERS = 500


def said(text: str) -> str:
    """What comes of a client, as one line that a terminal and a log can show.

    >>> said("no\\x1b[2J\\n such file")
    'no [2J  such file'
    """
    cut = text[:_MOST_LETTERS]
    return "".join(letter if letter.isprintable() else " " for letter in cut)


def failure(error: Error) -> str:
    """Why a client that answered with an error does not count."""
    return f"{_NOT_REACHED if error.code in _TRANSPORT else 'it failed'}: {reason(error.reason)}"


def is_silence(text: str) -> bool:
    """Whether a client does not count only because nothing came from it."""
    return NO_REPLY in text or _NOT_REACHED in text


def is_absence(text: str) -> bool:
    """Whether a client does not count because nothing came from it, in whatever stage of a round.

    >>> [is_absence(text) for text in (NO_REPLY, f"keys: {NOT_THERE}", f"it failed: {NO_REPLY}")]
    [True, True, False]
    """
    return re.sub(r"^[a-z]+: ", "", text).startswith((NO_REPLY, NOT_THERE, _NOT_REACHED))


def reason(text: str | None) -> str:
    """The reason of an error reply; Flower writes `<class 'E'>:<'text'>`."""
    text = (text or "").strip() or "no reason given"
    if raised := re.fullmatch(r"<class '(?:\w+\.)*(\w+)'>:<'(.*)'>", text, re.DOTALL):
        text = f"{raised[1]}: {raised[2]}"
    return said(text)
