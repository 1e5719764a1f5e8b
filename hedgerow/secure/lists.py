"""Checks of lists of names."""

from collections import Counter
from collections.abc import Sequence

from hedgerow.secure.errors import DuplicateMember, Malformed, NotAMember


def check_names(
    names: Sequence[str], what: str, *, among: Sequence[str] | None = None, having: str | None = None
) -> None:
    """Refuse a list that is not sorted, repeats a name, or has one that is not in `among`.

    Raises:
        DuplicateMember: a name occurs twice.
        Malformed: the list is not sorted.
        NotAMember: a name is not in `among`, or `having` is not in the list.
    """
    if len(set(names)) != len(names):
        twice = next(name for name, times in Counter(names).items() if times > 1)
        raise DuplicateMember(f"{twice!r} occurs twice among the {what}")
    if list(names) != sorted(names):
        raise Malformed(f"the {what} are not sorted")
    strangers = set(names) - set(among) if among is not None else set()
    if strangers:
        raise NotAMember(f"{min(strangers)!r} is among the {what} and must not be")
    if having is not None and having not in names:
        raise NotAMember(f"{having!r} is not among the {what}")
