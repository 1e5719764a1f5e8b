"""Mistakes in a configuration: each named, all collected into one error."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

MISSING = object()
"""Marks a value that was not given; not `None`, which may be given."""


@dataclass(frozen=True)
class Mistake:
    """One thing that is wrong in a configuration.

    Attributes:
        path: where, such as `strategy.pipeline`; empty for the file as a whole.
        problem: what is allowed, and the nearest name if there is one.
        given: the value given, or `MISSING`.

    >>> str(Mistake("rounds", "it must be a whole number of at least 1", 0))
    'rounds = 0: it must be a whole number of at least 1'
    """

    path: str
    problem: str
    given: Any = MISSING

    def __str__(self) -> str:
        shown = "" if self.given is MISSING else f" = {show(self.given)}"
        return f"{self.path}{shown}: {self.problem}" if self.path else self.problem


class CommandError(ValueError):
    """A command that cannot be carried out as it was given."""


class StoreError(ValueError):
    """A folder is not a run, or is another run."""


class ConfigError(ValueError):
    """Every mistake found in a configuration, in one error.

    Attributes:
        mistakes: at least one, in the order of the file's sections; equal ones,
            such as those of a sweep's cells, only once.
        source: the file or recipe, empty if there is none.
    """

    def __init__(self, mistakes: Iterable[Mistake], source: str = "") -> None:
        self.mistakes = tuple({str(m): m for m in mistakes}.values())
        self.source = source
        count = "1 mistake" if len(self.mistakes) == 1 else f"{len(self.mistakes)} mistakes"
        lines = [f"{count} in {source or 'the configuration'}", *(f"  {m}" for m in self.mistakes)]
        super().__init__("\n".join(lines))


def show(value: Any, width: int = 60) -> str:
    """A value as TOML would write it, shortened to `width` characters.

    >>> show({"alpha": 0.3, "on": True})
    '{alpha = 0.3, on = true}'
    """
    if isinstance(value, str):
        text = json.dumps(value, ensure_ascii=False)
    elif isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, Mapping):
        text = "{" + ", ".join(f"{k} = {show(v, width)}" for k, v in value.items()) + "}"
    elif isinstance(value, list | tuple):
        text = "[" + ", ".join(show(v, width) for v in value) + "]"
    else:
        text = str(value)
    return text if len(text) <= width else text[: width - 3] + "..."
