"""A sweep: one experiment for each combination of the values in `[sweep]`, listed or drawn."""

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import product
from typing import Any

import tomli_w

from hedgerow.experiments.config.arguments import UNKNOWN, Table
from hedgerow.experiments.config.errors import ConfigError, Mistake, show
from hedgerow.experiments.config.names import digest, slug, words
from hedgerow.experiments.config.parse import parse
from hedgerow.experiments.config.ranges import Range, draws, parse_range
from hedgerow.experiments.config.schema import Experiment
from hedgerow.experiments.config.search import EarlyStopping, SearchConfig
from hedgerow.strategies.origin import draws_of
from hedgerow.strategies.presets import PRESETS

_EPSILON = "strategy.epsilon"

STARTUP = 8
"""Draws of an adaptive search that are as random as those of a random one."""


@dataclass(frozen=True)
class Cell:
    """One experiment of a sweep.

    Attributes:
        folder: its name inside the sweep's folder, made from the values that
            vary, so that it stays the same when the sweep grows.
        experiment: to run there.
    """

    folder: str
    experiment: Experiment


@dataclass(frozen=True)
class Space:
    """What the experiments of a sweep vary.

    Attributes:
        table: the configuration without `[sweep]`.
        lists: dotted key to the values it takes; every combination is run.
        ranges: dotted key to the range its value is drawn from.
    """

    table: Mapping[str, Any]
    lists: Mapping[str, Sequence[Any]]
    ranges: Mapping[str, Range]

    @property
    def ways(self) -> list[dict[str, Any]]:
        """Every combination of the lists but for the seeds, which repeat each of them."""
        others = {key: values for key, values in self.lists.items() if key != "seed"}
        return _combinations(self.table, others)

    def cells(self, drawn: Sequence[Mapping[str, Any]], ways: Sequence[Mapping[str, Any]] = ()) -> list[Cell]:
        """The experiments of these draws, for each combination of the lists or for these ways alone.

        Raises:
            ConfigError: with the mistakes of all experiments.
        """
        chosen = _combinations(self.table, self.lists, drawn if self.ranges else ())
        if ways:
            chosen = [each for each in chosen if any(way.items() <= each.items() for way in ways)]
        cells, mistakes = [], list[Mistake]()
        for values in chosen:
            try:
                cells.append((_cell(self.table, values), values))
            except ConfigError as error:
                mistakes += [_in_sweep(m, [*self.lists, *self.ranges]) for m in error.mistakes]
        if mistakes:
            raise ConfigError(mistakes)
        return _unique(cells)


@dataclass(frozen=True)
class Sweep:
    """Experiments that differ in the values of `[sweep]`.

    Attributes:
        name: of the file or recipe.
        cells: in the order of the file, the last key varying fastest; of an adaptive search, those with
            which it begins.
        toml: the file with overrides applied and paths absolute.
        space: what varies; `None` for a single experiment.
        search: how values are drawn; `None` if there are lists only.
        early_stopping: when ways are given up; `None` for never.
    """

    name: str
    cells: tuple[Cell, ...]
    toml: str
    space: Space | None = None
    search: SearchConfig | None = None
    early_stopping: EarlyStopping | None = None


def expand(
    table: Mapping[str, Any],
    axes: Mapping[str, Any],
    source: str = "",
    search: SearchConfig | None = None,
    early_stopping: EarlyStopping | None = None,
) -> Sweep:
    """Make the experiments of a sweep.

    Args:
        table: the configuration without `[sweep]`.
        axes: dotted key to the list of values it takes, or to a range as a text.
        source: for the error.
        search: how values are drawn from ranges.
        early_stopping: when ways are given up.

    `label` in a table of values names it in rows, folders and curves. A strategy
    that is not private has no epsilon, so it is run only once, not for each value
    of `strategy.epsilon`.

    Raises:
        ConfigError: with the mistakes of all experiments, each reported once.
    """
    lists, ranges, mistakes = _split(axes)
    mistakes = mistakes or _fit(ranges, search)
    if mistakes:
        raise ConfigError(mistakes, source)
    space = Space(table, lists, ranges)
    drawn: Sequence[dict[str, Any]] = ()
    if search is not None:
        count = min(search.draws, STARTUP) if search.adaptive else search.draws
        drawn = draws(ranges, count, search.seed)
    try:
        cells = space.cells(drawn)
    except ConfigError as error:
        raise ConfigError(error.mistakes, source) from None
    about = {"search": search, "early_stopping": early_stopping}
    tables = {name: given.model_dump(mode="json") for name, given in about.items() if given is not None}
    listed = (f"{json.dumps(key)} = {_inline(values)}\n" for key, values in axes.items())
    toml = f"{tomli_w.dumps({**table, **tables})}\n[sweep]\n{''.join(listed)}"
    return Sweep(cells[0].experiment.name, tuple(cells), toml, space, search, early_stopping)


def put(table: Table, key: str, value: Any) -> None:
    """Set a dotted key in place; a table is merged into an existing one.

    Raises:
        ConfigError: the key leads through something that is not a table.

    >>> table = {"data": {"name": "heart"}}
    >>> put(table, "data.partition.clients", 4)
    >>> table
    {'data': {'name': 'heart', 'partition': {'clients': 4}}}
    """
    *path, last = key.split(".")
    for depth, step in enumerate(path):
        inner = table.setdefault(step, {})
        if not isinstance(inner, dict):
            raise ConfigError(
                [Mistake(key, f"{'.'.join(path[: depth + 1])} is not a table, it is {show(inner)}")]
            )
        table = inner
    if isinstance(value, dict) and isinstance(table.get(last), dict):
        for inner_key, inner_value in value.items():
            put(table[last], inner_key, inner_value)
    else:
        table[last] = deepcopy(value)
    # Two ways of saying the same thing: setting one replaces the other.
    for one, other in (("clients_per_round", "fraction"), ("fraction", "clients_per_round")):
        if path == ["strategy"] and last == one:
            table.pop(other, None)


def _cell(table: Mapping[str, Any], chosen: Mapping[str, Any]) -> Cell:
    merged = _merged(table, chosen)
    label = ", ".join(words(key, value) for key, value in chosen.items() if key != "seed")
    experiment = parse({**merged, "label": label or merged.get("name", "")})
    seed = f" seed={experiment.seed}" if "seed" in chosen else ""
    return Cell(slug(f"{label or experiment.name}{seed}"), experiment)


def _merged(table: Mapping[str, Any], chosen: Mapping[str, Any]) -> Table:
    merged = deepcopy(dict(table))
    for key, value in chosen.items():
        named = isinstance(value, dict) and "label" in value
        put(merged, key, {k: v for k, v in value.items() if k != "label"} if named else value)
    return merged


def _combinations(
    table: Mapping[str, Any], lists: Mapping[str, Sequence[Any]], drawn: Sequence[Mapping[str, Any]] = ()
) -> list[dict[str, Any]]:
    """The values for each experiment: every combination of lists and draws, once."""
    found: list[dict[str, Any]] = []
    keys = sorted(lists, key=lambda key: key == "seed") if drawn else list(lists)
    others = [[{key: value} for value in lists[key]] for key in keys]
    place = sum(key != "seed" for key in keys)
    for parts in product(*others[:place], *([drawn] if drawn else []), *others[place:]):
        chosen = {key: value for part in parts for key, value in part.items()}
        if _EPSILON in chosen:
            rest = {key: value for key, value in chosen.items() if key != _EPSILON}
            strategy = _merged(table, rest).get("strategy", {})
            name = strategy.get("name", "fedavg") if isinstance(strategy, dict) else None
            plain = name in PRESETS.names() and draws_of(PRESETS.get(name)) is None
            chosen = rest if plain else chosen
        if chosen not in found:
            found.append(chosen)
    return found


def _unique(cells: list[tuple[Cell, dict[str, Any]]]) -> list[Cell]:
    names = [cell.folder for cell, _ in cells]
    texts = [json.dumps(list(chosen.values()), default=str) for _, chosen in cells]
    return [
        Cell(f"{cell.folder}-{digest(text)}", cell.experiment) if names.count(cell.folder) > 1 else cell
        for (cell, _), text in zip(cells, texts, strict=True)
    ]


def _inline(value: Any) -> str:
    """A value on one line, because tables on their own lines would come after the other keys."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_inline(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return tomli_w.dumps({"x": value}).removeprefix("x = ").rstrip("\n")


def _split(
    axes: Mapping[str, Any],
) -> tuple[dict[str, list[Any]], dict[str, Range], list[Mistake]]:
    """The lists and the ranges of `[sweep]`, and what is wrong with them."""
    lists: dict[str, list[Any]] = {}
    ranges: dict[str, Range] = {}
    mistakes: list[Mistake] = []
    for key, values in axes.items():
        path = f'sweep."{key}"'
        if isinstance(values, str):
            try:
                ranges[key] = parse_range(values)
            except ValueError as error:
                problem = f"it must be a list, or a range such as log_uniform(0.01, 1.0): {error}"
                mistakes.append(Mistake(path, problem, values))
        elif not isinstance(values, list) or not values:
            mistakes.append(Mistake(path, "it must be a list with at least one value, or a range", values))
        else:
            lists[key] = values
            twice = [v for i, v in enumerate(values) if (type(v), v) in [(type(o), o) for o in values[:i]]]
            if twice:
                mistakes.append(Mistake(path, f"{show(twice[0])} occurs twice; remove one", values))
    return lists, ranges, mistakes


def _fit(ranges: Mapping[str, Range], search: SearchConfig | None) -> list[Mistake]:
    """Mistakes between ranges and `[search]`: one needs the other."""
    if search is None:
        return [
            Mistake(f'sweep."{key}"', "a range needs to know how often to draw; give [search] draws = 20")
            for key in ranges
        ]
    if not ranges:
        return [Mistake("search", '[sweep] has no range to draw from, such as "log_uniform(0.01, 1.0)"')]
    if "seed" in ranges:
        return [Mistake('sweep."seed"', "it must be a list: each draw is run with every seed")]
    return []


def _in_sweep(mistake: Mistake, keys: Sequence[str]) -> Mistake:
    for key in keys:
        if mistake.path == key or mistake.path.startswith(f"{key}."):
            path = f'sweep."{key}"{mistake.path[len(key) :]}'
            if mistake.problem.startswith(UNKNOWN):  # reported once, whatever the values
                return Mistake(path, mistake.problem)
            return Mistake(path, mistake.problem, mistake.given)
    return mistake
