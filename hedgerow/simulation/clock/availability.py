"""When simulated clients are available: by days and nights, or by a trace."""

import csv
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import inf
from typing import Protocol, TypeAlias, final, runtime_checkable

from hedgerow import checks
from hedgerow.registry import Registry
from hedgerow.rng import generator, integer_seed
from hedgerow.wording import shown

AVAILABILITIES = Registry(
    "availability",
    "hedgerow.availabilities",
    {name: f"hedgerow.simulation.clock.availability:{name}" for name in ("daily", "trace")},
)
"""Descriptions of when clients are available that a recipe may name."""

Period: TypeAlias = tuple[float, float]
"""Seconds from the start of the run: from, and up to but not including."""

_DAY, _HOUR = 86400.0, 3600.0
_MOST_DAYS = 3660


@runtime_checkable
class Availability(Protocol):
    """Tells when a client is available."""

    @property
    def name(self) -> str:
        """As written in a recipe."""

    def period(self, seed: int, client: str, at: float) -> Period | None:
        """The first period that ends after `at`; `None` if the client never comes back."""


def is_there(period: Period | None, at: float) -> bool:
    """Whether a client whose period that is is available now."""
    return period is not None and period[0] <= at


@final
@dataclass(frozen=True)
class Daily:
    """Each client is there once a day; see `daily`."""

    name: str
    begins: float
    hours: float
    spread: float
    skips: float
    first_hour: float

    def period(self, seed: int, client: str, at: float) -> Period | None:
        """The first period that ends after `at`."""
        usual = _usual(seed, client, self.begins, self.spread)
        first = int((at + self.first_hour * _HOUR - usual) // _DAY) - 1
        for day in range(first, first + _MOST_DAYS):
            begin = day * _DAY + usual - self.first_hour * _HOUR
            end = begin + self.hours * _HOUR
            if end > at and not self._skipped(seed, client, day):
                return begin, end
        return None

    def _skipped(self, seed: int, client: str, day: int) -> bool:
        if not self.skips:
            return False
        return bool(generator(seed, "skips a day", round=day, client=client).random() < self.skips)


@lru_cache(maxsize=4096)
def _usual(seed: int, client: str, begins: float, spread: float) -> float:
    drawn = generator(seed, "usual hour", client=client).normal(begins, spread) if spread else begins
    return float(drawn) * _HOUR


@checks.arguments
def daily(
    begins: float = 22.0, hours: float = 8.0, spread: float = 2.0, skips: float = 0.0, first_hour: float = 0.0
) -> Daily:
    """Days and nights: a client is there once a day, such as while it charges.

    Args:
        begins: the hour at which clients come, on average.
        hours: that they stay.
        spread: standard deviation of their hours; each client keeps its own.
        skips: share of the days on which a client does not come.
        first_hour: of the day at which the run starts.

    Raises:
        ValueError: a value is out of range.

    >>> nights = daily(22.0, hours=8.0, spread=0.0)
    >>> [edge / 3600 for edge in nights.period(0, "a", at=12 * 3600.0)]
    [22.0, 30.0]
    """
    checks.not_negative(begins=begins, spread=spread, first_hour=first_hour)
    checks.positive(hours=hours)
    if hours >= 24:
        raise ValueError(f"hours is {hours:g}; it must be below 24, or availability be left out")
    checks.probability(skips=skips)
    return Daily(
        f"daily({begins}, {hours}, {spread}, {skips}, {first_hour})", begins, hours, spread, skips, first_hour
    )


@final
@dataclass(frozen=True)
class Trace:
    """Each client follows one of the traces of a file; see `trace`."""

    name: str
    periods: Mapping[str, Sequence[Period]]
    every: float

    def period(self, seed: int, client: str, at: float) -> Period | None:
        """The first period that ends after `at`."""
        own = self._own(seed, client)
        turn = int(at // self.every) if self.every else 0
        found = _after(own, at - turn * self.every)
        if found is None and self.every:
            turn, found = turn + 1, own[0]
        return found and (found[0] + turn * self.every, found[1] + turn * self.every)

    def _own(self, seed: int, client: str) -> Sequence[Period]:
        if client in self.periods:
            return self.periods[client]
        names = list(self.periods)
        return self.periods[names[integer_seed(seed, "trace", client=client) % len(names)]]


def _after(periods: Sequence[Period], at: float) -> Period | None:
    place = bisect_right([end for _, end in periods], at)
    return periods[place] if place < len(periods) else None


@checks.arguments
def trace(file: str, every: float = 0.0) -> Trace:
    """Periods from a CSV file with the columns `client`, `from` and `to`, in seconds.

    A client whose name is in the file follows its own lines; any other one follows those of a name
    that is drawn for it, so that a file may have fewer or more names than there are clients.

    Args:
        file: its path.
        every: seconds after which the periods begin again, not before the last ends; 0 for never.

    Raises:
        ValueError: the file cannot be read, or a line is not allowed; the error names the line.
    """
    where = checks.path(file=file)
    checks.not_negative(every=every)
    try:
        with where.open(encoding="utf-8-sig", newline="") as lines:
            periods = _read(lines, file)
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"file is {file!r}; it must be a CSV file that can be read: {error}") from None
    last = max(each[-1][1] for each in periods.values())
    if every and every < last:
        raise ValueError(
            f"every is {every:g}; it must be 0, or at least {last:g}, where the last period ends"
        )
    return Trace(f"trace({periods}, {every})", periods, every)


def _read(lines: Iterator[str], file: str) -> dict[str, list[Period]]:
    rows = csv.reader(lines)
    header = next(rows, [])
    if header != ["client", "from", "to"]:
        raise ValueError(f"line 1 of {file} is {shown(','.join(header))}; it must be client,from,to")
    found: dict[str, list[Period]] = {}
    for row in rows:
        if not row:
            continue
        if len(row) != 3:
            raise ValueError(f"line {rows.line_num} of {file} has {len(row)} values; it must have 3")
        client, begin, end = row[0], *(_moment(text, rows.line_num, file) for text in row[1:])
        own = found.setdefault(client, [])
        if end <= begin:
            raise ValueError(
                f"line {rows.line_num} of {file} is from {begin:g} to {end:g}; it must end after it begins"
            )
        if own and begin < own[-1][1]:
            raise ValueError(
                f"line {rows.line_num} of {file} begins at {begin:g}; it must begin after {own[-1][1]:g},"
                " where the client's period before ends"
            )
        own.append((begin, end))
    if not found:
        raise ValueError(f"{file} has no line with a period; it must have at least one")
    return found


def _moment(text: str, line: int, file: str) -> float:
    try:
        moment = float(text)
    except ValueError:
        moment = inf
    if not 0 <= moment < inf:
        raise ValueError(f"line {line} of {file} has {shown(text)}; it must be seconds, 0 or above")
    return moment
