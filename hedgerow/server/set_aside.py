"""Set clients aside whose last replies were all bad: they are not asked until an operator readmits them.

A bad reply is one that is dropped because of its content, including an error; a client that does not answer
in time, or cannot be reached, has not sent one. The rounds of a client's bad replies since its last good
one are part of the server's state. `readmitted.json` in the run's folder says up to which round they are
forgiven.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from hedgerow.files import PRIVATE, locked, write_whole
from hedgerow.server.replies import is_absence

FILE = "readmitted.json"

Strikes: TypeAlias = Mapping[str, tuple[int, ...]]
"""`{client: rounds of its bad replies since the last that counted}`, at most as many as set it aside."""


def aside(strikes: Strikes, limit: int, forgiven: Mapping[str, int]) -> frozenset[str]:
    """The clients that are not asked any more.

    >>> sorted(aside({"a": (3, 4), "b": (3, 4), "c": (4,)}, 2, {"b": 4}))
    ['a']
    """
    if not limit:
        return frozenset()
    return frozenset(
        name
        for name, rounds in strikes.items()
        if len([number for number in rounds if number > forgiven.get(name, 0)]) >= limit
    )


def after(
    before: Strikes, cohort: Sequence[str], dropped: Mapping[str, str], round: int, limit: int
) -> dict[str, tuple[int, ...]]:
    """The strikes after a round.

    If several clients answered and all replies were bad, the model is more likely at fault than the clients:
    none gets a strike.

    >>> after({"a": (1,)}, ("a", "b", "c"), {"a": "its weight is nan", "c": "it is not connected"}, 2, 3)
    {'a': (1, 2)}
    """
    bad = {name for name in cohort if name in dropped and not is_absence(dropped[name])}
    counted = {name for name in cohort if name not in dropped}
    found = {name: rounds for name, rounds in before.items() if name not in counted}
    if not limit or (not counted and len(bad) > 1):
        return found
    return found | {name: (*before.get(name, ()), round)[-limit:] for name in sorted(bad)}


def forgiven(folder: Path | None) -> Mapping[str, int]:
    """The round up to which each client's bad replies are forgiven, in the run of a folder.

    Raises:
        ValueError: the file cannot be read.
    """
    if folder is None or not (folder / FILE).exists():
        return {}
    file = folder / FILE
    try:
        return {str(name): int(number) for name, number in json.loads(file.read_bytes()).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} cannot be read: {error}; remove it and readmit again") from error


def forgive(folder: Path, names: Collection[str], round: int) -> None:
    """Forgive the clients' bad replies up to a round; raises `ValueError` and `OSError`."""
    with locked(folder / f".{FILE}.lock"):
        now = {**forgiven(folder), **dict.fromkeys(names, round)}
        write_whole(folder / FILE, json.dumps(now, indent=1, sort_keys=True).encode(), mode=PRIVATE)
