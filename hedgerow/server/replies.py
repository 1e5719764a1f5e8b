"""The reasons why clients do not count, and what their error replies say."""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flwr.app import Error

NO_REPLY = "it did not reply in time"
TOO_LATE = "it did not reply in time: enough others had"
NOT_THERE = "it is not connected"
NOT_AVAILABLE = "it is not available"

KINDS = ("late", "unreachable", "refused", "failed", "bad reply")

_NOT_REACHED = "it cannot be reached"
_FAILED = "it failed"
_TRANSPORT = {  # by Flower's codes, whose own texts are about its database and its settings
    3: "its reply cannot be fetched",
    4: "its reply has expired",
    5: "nothing is heard of it",
}

_NO_NEW_WORK = "NotAvailable:"  # what a device outside its own limits says, and no more than that

_MOST_LETTERS = 500


def said(text: str) -> str:
    """Text from a client as one line that is safe to show in a terminal and a log.

    >>> said("no\\x1b[2J\\n such file")
    'no [2J  such file'
    """
    cut = text[:_MOST_LETTERS]
    return "".join(letter if letter.isprintable() else " " for letter in cut)


def failure(error: "Error") -> str:
    """Why a client does not count if it, or Flower on its behalf, answered with an error.

    >>> from flwr.app import Error
    >>> failure(Error(5, "Error: Node Unavailable — The destination node failed to report a heartbeat"))
    'it cannot be reached: nothing is heard of it'
    >>> failure(Error(2, "<class 'OSError'>:<'no such file'>"))
    'it failed: OSError: no such file'
    >>> failure(Error(2, "NotAvailable: The device takes no new work now."))
    'it is not available'
    """
    lost, why = _TRANSPORT.get(error.code), reason(error.reason)
    if lost is not None:
        return f"{_NOT_REACHED}: {lost}"
    return NOT_AVAILABLE if why.startswith(_NO_NEW_WORK) else f"{_FAILED}: {why}"


def is_silence(text: str) -> bool:
    """Whether a client does not count merely because nothing came from it."""
    return any(why in text for why in (NO_REPLY, _NOT_REACHED, NOT_AVAILABLE))


def kind_of(text: str) -> str:
    """The kind of a reason, for statistics: one of `KINDS`.

    >>> kind_of(NO_REPLY), kind_of(NOT_THERE), kind_of("it failed: AgainstPolicy: rule corrupt")
    ('late', 'unreachable', 'refused')
    >>> kind_of("it failed: OSError"), kind_of("its norm is not finite")
    ('failed', 'bad reply')
    """
    if NO_REPLY in text:
        return "late"
    if text.startswith((_NOT_REACHED, NOT_THERE, NOT_AVAILABLE)):
        return "unreachable"
    if text.startswith(f"{_FAILED}: AgainstPolicy"):
        return "refused"
    return "failed" if text.startswith(_FAILED) else "bad reply"


def is_absence(text: str) -> bool:
    """Whether a client does not count because nothing came from it, in any stage of a round.

    One that takes no new work now is absent too.

    >>> texts = NO_REPLY, f"keys: {NOT_THERE}", f"masked: {NOT_AVAILABLE}", f"it failed: {NO_REPLY}"
    >>> [is_absence(text) for text in texts]
    [True, True, True, False]
    """
    return re.sub(r"^[a-z]+: ", "", text).startswith((NO_REPLY, NOT_THERE, NOT_AVAILABLE, _NOT_REACHED))


def reason(text: str | None) -> str:
    """The reason of an error reply; Flower writes `<class 'E'>:<'text'>`."""
    text = (text or "").strip() or "no reason given"
    if raised := re.fullmatch(r"<class '(?:\w+\.)*(\w+)'>:<'(.*)'>", text, re.DOTALL):
        text = f"{raised[1]}: {raised[2]}"
    return said(text)
