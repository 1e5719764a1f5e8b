"""What a client's error reply says."""

import re


def reason(text: str | None) -> str:
    """The reason of an error reply; Flower writes `<class 'E'>:<'text'>`."""
    text = (text or "").strip() or "no reason given"
    if raised := re.fullmatch(r"<class '(?:\w+\.)*(\w+)'>:<'(.*)'>", text, re.DOTALL):
        text = f"{raised[1]}: {raised[2]}"
    return text[:500]
