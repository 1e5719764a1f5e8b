"""What a client's error reply says."""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flwr.app import Error

NO_REPLY = "it did not reply in time"
TOO_LATE = "it did not reply in time: enough others had"
NOT_THERE = "it is not connected"

KINDS = ("late", "unreachable", "refused", "failed", "bad reply")

_NOT_REACHED = "it cannot be reached"
_FAILED = "it failed"
_TRANSPORT = (3, 4, 5)  # Flower's codes of a message, a reply or a node that is not available


def failure(error: "Error") -> str:
    """Why a client that answered with an error does not count."""
    return f"{_NOT_REACHED if error.code in _TRANSPORT else _FAILED}: {reason(error.reason)}"


def is_silence(text: str) -> bool:
    """Whether a client does not count only because nothing came from it."""
    return NO_REPLY in text or _NOT_REACHED in text


def kind_of(text: str) -> str:
    """What kind of reason it is, for counting: one of `KINDS`.

    >>> kind_of(NO_REPLY), kind_of(NOT_THERE), kind_of("it failed: AgainstPolicy: rule corrupt")
    ('late', 'unreachable', 'refused')
    >>> kind_of("it failed: OSError"), kind_of("its norm is not finite")
    ('failed', 'bad reply')
    """
    if NO_REPLY in text:
        return "late"
    if text.startswith((_NOT_REACHED, NOT_THERE)):
        return "unreachable"
    if text.startswith(f"{_FAILED}: AgainstPolicy"):
        return "refused"
    return "failed" if text.startswith(_FAILED) else "bad reply"


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
    return text[:500]
