"""A sweep: one experiment for each combination of the values in `[sweep]`."""

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import product
from typing import Any

import tomli_w

from hedgerow.experiments.config.arguments import UNKNOWN, Table
from hedgerow.experiments.config.errors import ConfigError, Mistake, show
from hedgerow.experiments.config.parse import parse
from hedgerow.experiments.config.schema import Experiment
from hedgerow.files import is_device
from hedgerow.strategies.origin import draws_of
from hedgerow.strategies.presets import PRESETS

_EPSILON = "strategy.epsilon"


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
class Sweep:
    """Experiments that differ in the values of `[sweep]`.

    Attributes:
        name: of the file or recipe.
        cells: in the order of the file, the last key varying fastest.
        toml: the file with overrides applied and paths absolute.
    """

    name: str
    cells: tuple[Cell, ...]
    toml: str


def expand(table: Mapping[str, Any], axes: Mapping[str, Sequence[Any]], source: str = "") -> Sweep:
    """Make the experiments of a sweep.

    Args:
        table: the configuration without `[sweep]`.
        axes: dotted key to the values it takes.
        source: for the error.

    `label` in a table of values names it in rows, folders and curves. A strategy
    that is not private has no epsilon, so it is run only once, not for each value
    of `strategy.epsilon`.

    Raises:
        ConfigError: with the mistakes of all experiments, each reported once.
    """
    mistakes = [m for key, values in axes.items() for m in _check_values(key, values)]
    if mistakes:
        raise ConfigError(mistakes, source)
    cells = []
    for chosen in _combinations(table, axes):
        try:
            cells.append((_cell(table, chosen), chosen))
        except ConfigError as error:
            mistakes += [_in_sweep(m, axes) for m in error.mistakes]
    if mistakes:
        raise ConfigError(mistakes, source)
    lists = (f"{json.dumps(key)} = {_inline(values)}\n" for key, values in axes.items())
    toml = f"{tomli_w.dumps(table)}\n[sweep]\n{''.join(lists)}"
    return Sweep(cells[0][0].experiment.name, tuple(_unique(cells)), toml)


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


def slug(text: str) -> str:
    """A text as a folder name for any file system; a digest distinguishes texts with non-ASCII letters.

    >>> slug("chain(top_k(0.01), quantize(8))"), slug("Größe"), slug("rate=1e+30")
    ('chain-top_k-0.01-quantize-8', 'Groe-3c2f10', 'rate=1e30')
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    exponents = re.sub(r"(?<=\de)\+(?=\d)", "", plain)  # 1e+30 must not read like 1e-30
    name = re.sub(r"[^A-Za-z0-9_.=]+", "-", exponents).strip("-.")
    if name and len(name) <= 100 and text.isascii() and not is_device(name):
        return name
    return f"{name[:80].replace('.', '-')}-{_digest(text)}".lstrip("-")


def _cell(table: Mapping[str, Any], chosen: Mapping[str, Any]) -> Cell:
    merged = _merged(table, chosen)
    label = ", ".join(_words(key, value) for key, value in chosen.items() if key != "seed")
    experiment = parse({**merged, "label": label or merged.get("name", "")})
    seed = f" seed={experiment.seed}" if "seed" in chosen else ""
    return Cell(slug(f"{label or experiment.name}{seed}"), experiment)


def _merged(table: Mapping[str, Any], chosen: Mapping[str, Any]) -> Table:
    merged = deepcopy(dict(table))
    for key, value in chosen.items():
        named = isinstance(value, dict) and "label" in value
        put(merged, key, {k: v for k, v in value.items() if k != "label"} if named else value)
    return merged


def _combinations(table: Mapping[str, Any], axes: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """The values for each experiment: every combination, once."""
    found: list[dict[str, Any]] = []
    for values in product(*axes.values()):
        chosen = dict(zip(axes, values, strict=True))
        if _EPSILON in chosen:
            others = {key: value for key, value in chosen.items() if key != _EPSILON}
            strategy = _merged(table, others).get("strategy", {})
            name = strategy.get("name", "fedavg") if isinstance(strategy, dict) else None
            plain = name in PRESETS.names() and draws_of(PRESETS.get(name)) is None
            chosen = others if plain else chosen
        if chosen not in found:
            found.append(chosen)
    return found


def _words(key: str, value: Any) -> str:
    if isinstance(value, str):
        return " ".join(value.split())
    if isinstance(value, dict):
        if "label" in value:
            return str(value["label"])
        return " ".join(_words(k, v) for k, v in value.items())
    return f"{key.rpartition('.')[2]}={show(value)}"


def _unique(cells: list[tuple[Cell, dict[str, Any]]]) -> list[Cell]:
    names = [cell.folder for cell, _ in cells]
    texts = [json.dumps(list(chosen.values()), default=str) for _, chosen in cells]
    return [
        Cell(f"{cell.folder}-{_digest(text)}", cell.experiment) if names.count(cell.folder) > 1 else cell
        for (cell, _), text in zip(cells, texts, strict=True)
    ]


def _inline(value: Any) -> str:
    """A value on one line, because tables on their own lines would come after the other keys."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_inline(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return tomli_w.dumps({"x": value}).removeprefix("x = ").rstrip("\n")


def _check_values(key: str, values: Any) -> list[Mistake]:
    path = f'sweep."{key}"'
    if not isinstance(values, list) or not values:
        return [Mistake(path, "it must be a list with at least one value", values)]
    twice = [v for i, v in enumerate(values) if v in values[:i] and type(v) is type(values[values.index(v)])]
    return [Mistake(path, f"{show(twice[0])} occurs twice; remove one", values)] if twice else []


def _in_sweep(mistake: Mistake, axes: Mapping[str, Sequence[Any]]) -> Mistake:
    for key in axes:
        if mistake.path == key or mistake.path.startswith(f"{key}."):
            path = f'sweep."{key}"{mistake.path[len(key) :]}'
            if mistake.problem.startswith(UNKNOWN):  # reported once, whatever the values
                return Mistake(path, mistake.problem)
            return Mistake(path, mistake.problem, mistake.given)
    return mistake


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=3).hexdigest()
