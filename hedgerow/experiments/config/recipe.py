"""From a recipe's name, a file or a run's folder to an experiment or a sweep."""

import os
import tomllib
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from hedgerow.experiments.config.arguments import Table
from hedgerow.experiments.config.errors import ConfigError, Mistake
from hedgerow.experiments.config.expand import Cell, Sweep, expand, put
from hedgerow.experiments.config.names import slug
from hedgerow.experiments.config.parse import parse
from hedgerow.experiments.config.schema import Experiment, to_toml
from hedgerow.experiments.config.search import read_search
from hedgerow.wording import did_you_mean

_DATA_FILES = (".csv", ".npz", ".parquet")


def load(source: str | Path, overrides: Sequence[str] = ()) -> Experiment | Sweep:
    """Read and check a configuration.

    Relative paths in a file are relative to that file, those in an override
    to the working folder; the result holds absolute ones.

    Args:
        source: a recipe's name, a TOML file, or the folder of a run or a sweep.
        overrides: `key=value` texts: a dotted key and a TOML value, in which strings
            need no quotes. An empty value removes the key. An override of a key in
            `[sweep]` replaces its list; `sweep.KEY=[...]` sets a list.

    Returns:
        A `Sweep` if there is a `[sweep]`.

    Raises:
        ConfigError: with every mistake in it.
    """
    table, axes, name = load_unchecked(source, overrides)
    return checked(table, axes, name)


def checked(table: Table, axes: Table, source: str) -> Experiment | Sweep:
    """What `load_unchecked` has read, checked.

    Raises:
        ConfigError: with every mistake in it.
    """
    search, early_stopping = read_search(table, axes, source)
    return expand(table, axes, source, search, early_stopping) if axes else parse(table, source)


def load_unchecked(source: str | Path, overrides: Sequence[str] = ()) -> tuple[Table, Table, str]:
    """As `load`, but without the checks, which look at the data and import the model.

    Returns:
        The configuration without `[sweep]`, what is in `[sweep]` by dotted key,
        and a name for errors.

    Raises:
        ConfigError: it cannot be read.
    """
    text, name, base = _read(source)
    table = {"name": Path(name).stem, **_toml(text, name)}
    sweep = table.pop("sweep", {})
    if not isinstance(sweep, dict):
        raise ConfigError([Mistake("sweep", "it must be a table of lists and ranges", sweep)], name)
    axes = {key: _absolute(key, values, base) for key, values in _flat(sweep)}
    table = _absolute("", table, base)
    _apply(overrides, table, axes, name)
    return table, axes, name


def load_table(table: Table, overrides: Sequence[str] = (), source: str = "") -> Experiment:
    """As `load`, from a table in memory without `[sweep]`; paths are relative to the working folder."""
    changed = _absolute("", table, Path.cwd())
    _apply(overrides, changed, {}, source)
    return parse(changed, source)


def load_sweep(source: str | Path, overrides: Sequence[str] = ()) -> Sweep:
    """As `load`; a single experiment becomes a sweep of one."""
    return as_sweep(load(source, overrides))


def as_sweep(loaded: Experiment | Sweep) -> Sweep:
    """A single experiment as a sweep of one."""
    if isinstance(loaded, Sweep):
        return loaded
    return Sweep(loaded.name, (Cell(slug(loaded.label), loaded),), to_toml(loaded))


def recipes() -> list[str]:
    """Names of the recipes in the package, sorted."""
    return sorted(f.name.removesuffix(".toml") for f in _FOLDER.iterdir() if f.name.endswith(".toml"))


def recipe_text(name: str) -> str:
    """A recipe's TOML, with its comments.

    Raises:
        ConfigError: there is no such recipe; the error names the nearest.
    """
    if name not in recipes():
        listed, near = ", ".join(recipes()), did_you_mean(name, recipes())
        raise ConfigError(
            [Mistake("", f"there is no recipe {name!r}; there is {listed}.{near}")], "the command"
        )
    return (_FOLDER / f"{name}.toml").read_text(encoding="utf-8")


def recipe_summary(name: str) -> str:
    """The first line of a recipe's comments."""
    return recipe_text(name).splitlines()[0].removeprefix("#").strip()


_FOLDER = files("hedgerow.experiments") / "recipes"


def _read(source: str | Path) -> tuple[str, str, Path]:
    """The text, a name for errors, and the folder that its paths are relative to."""
    path = Path(source).expanduser()
    if str(source) in recipes():
        return recipe_text(str(source)), str(source), Path.cwd()
    if path.is_dir():
        path = path / ("sweep.toml" if (path / "sweep.toml").exists() else "config.toml")
    try:
        return path.read_bytes().decode("utf-8-sig"), str(path), path.resolve().parent
    except FileNotFoundError:
        listed, near = ", ".join(recipes()), did_you_mean(source, recipes())
        problem = f"there is no file {str(path)!r} and no recipe of that name; recipes are {listed}.{near}"
    except UnicodeDecodeError as error:
        problem = (
            f"it is not UTF-8 text: byte {error.start} is {error.object[error.start]:#04x}; save it as UTF-8"
        )
    except OSError as error:
        problem = f"it cannot be read: {error.strerror}"
    raise ConfigError([Mistake("", problem)], str(source))


def _toml(text: str, name: str) -> Table:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([Mistake("", f"it is not TOML: {error}")], name) from None


def _flat(table: Table, path: str = "") -> Iterable[tuple[str, Any]]:
    """Flatten `[sweep]`, so that `strategy.pipeline = [...]` means the same as the quoted key."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def _apply(overrides: Sequence[str], table: Table, axes: dict[str, Any], name: str) -> None:
    mistakes: list[Mistake] = []
    for override in overrides:
        if not _is_text(override):
            problem = f"{override!r} is not text in the encoding of this terminal; set LC_ALL=C.UTF-8"
            mistakes.append(Mistake("", problem))
            continue
        key, equals, text = (part.strip() for part in override.partition("="))
        if not equals or not all(key.split(".")):
            mistakes.append(Mistake("", f"{override!r} is not an override; write key=value, as rounds=5"))
            continue
        if key == "sweep":
            problem = "it must be keys with lists or ranges, such as sweep.seed=[0,1]"
            mistakes.append(Mistake(key, problem, _value(text)))
            continue
        swept = key.removeprefix("sweep.").replace('"', "") if key.startswith("sweep.") else ""
        value = _absolute(swept or key, _value(text), Path.cwd())
        try:
            if swept:
                axes.pop(swept, None)
                axes.update({swept: value} if text else {})
                continue
            for other in [k for k in axes if k == key or k.startswith(f"{key}.")]:
                axes.pop(other)
            put(table, key, value)
            if not text:
                _take_out(table, key)
        except ConfigError as error:
            mistakes += error.mistakes
    if mistakes:
        raise ConfigError(mistakes, name)


def _is_text(given: str) -> bool:
    """Whether Python could decode an argument; bytes that it could not are left as lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in given)


def _value(text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return parsed["value"] if len(parsed) == 1 else text


def _take_out(table: Table, key: str) -> None:
    *path, last = key.split(".")
    for step in path:
        table = table[step]
    del table[last]


_PATHS = ("model.initial", "data.files", "data.test_file", "clock.availability.file")


def _absolute(key: str, value: Any, base: Path) -> Any:
    """Make the paths of the user's own data and models absolute."""
    if isinstance(value, dict):
        return {k: _absolute(f"{key}.{k}".lstrip("."), v, base) for k, v in value.items()}
    if isinstance(value, list):
        return [_absolute(key, v, base) for v in value]
    if key in ("data.name", "model.name") and isinstance(value, str) and ".py:" in value:
        file, _, attribute = value.rpartition(":")
        return f"{_full(base, file)}:{attribute}"
    if key == "data.name" and isinstance(value, str) and _is_path(value, base):
        return _full(base, value)
    if key in _PATHS and isinstance(value, str) and value:
        return _full(base, value)
    return value


def _full(base: Path, text: str) -> str:
    """An absolute path; defined for every text, so that no error reveals which users and links exist."""
    return os.path.realpath(base / os.path.expanduser(text))


def _is_path(text: str, base: Path) -> bool:
    from hedgerow.datasets import DATASETS

    if not text or text in DATASETS.names():
        return False
    return "/" in text or text.endswith(_DATA_FILES) or (base / text).exists()
