"""Read a Flower app folder: the settings in its `pyproject.toml`, and its two apps."""

import difflib
import importlib
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

from hedgerow.simulation import flower

Value = bool | float | int | str
App = TypeVar("App", ServerApp, ClientApp)

# One setting, as Flower matches it; Flower silently ignores what does not match.
_SETTING = re.compile(r"(\S+?)=('[^']*'|\"[^\"]*\"|\S+)")


class AppError(ValueError):
    """A folder that is not a Flower app, or a run config that its app does not accept."""


@dataclass(frozen=True)
class FlowerApp:
    """The Flower app that a folder's `pyproject.toml` describes.

    Attributes:
        folder: absolute path.
        name: of the project.
        server: the server app, as `module:name`.
        client: the client app, as `module:name`.
        run_config: the app's own, with `overrides` applied.
        overrides: values given in addition to the app.
        clients: number of clients in its federation options; None without these options.
    """

    folder: Path
    name: str
    server: str
    client: str
    run_config: Mapping[str, Value]
    overrides: Mapping[str, Value]
    clients: int | None


def read_app(folder: Path, run_config: Iterable[str] = ()) -> FlowerApp:
    """Read an app folder, without importing anything from it.

    Args:
        folder: the one with `pyproject.toml`.
        run_config: overrides as for `flwr run --run-config`: `'key=value key2="text"'`, or one TOML file.

    Raises:
        AppError: the folder is not a Flower app, or the app does not accept an override.
    """
    folder = folder.expanduser().absolute()
    file = folder / "pyproject.toml"
    pyproject = _read(file)
    mistakes = flower.app_mistakes(pyproject)
    if mistakes:
        raise AppError("\n".join([f"{file} does not describe a Flower app:", *(f"  {m}" for m in mistakes)]))
    tables = pyproject["tool"]["flwr"]
    components = tables["app"]["components"]
    if "serverapp" not in components or "clientapp" not in components:
        raise AppError(f"{file} describes an agent app; only a server app with a client app can be simulated")
    own = flower.flat_config(tables["app"].get("config", {}))
    overrides = _overrides(run_config, own, file)
    return FlowerApp(
        folder=folder,
        name=str(pyproject["project"]["name"]),
        server=_reference(components["serverapp"], "serverapp", file),
        client=_reference(components["clientapp"], "clientapp", file),
        run_config=own | overrides,
        overrides=overrides,
        clients=_clients(tables.get("federations", {})),
    )


def load_app(app: FlowerApp) -> tuple[ServerApp, ClientApp]:
    """Import the app's two parts; its folder is put first on `sys.path`, and stays there.

    Raises:
        AppError: a module or its app does not exist.
        Exception: whatever the app's modules raise when they are imported.
    """
    sys.path.insert(0, str(app.folder))
    importlib.invalidate_caches()
    server = _component(app.folder, "serverapp", app.server, ServerApp)
    return server, _component(app.folder, "clientapp", app.client, ClientApp)


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise AppError(
            f"{file.parent} is not a Flower app: it has no pyproject.toml"
            if file.parent.is_dir()
            else f"{file.parent} is not a folder; give the folder of a Flower app, with its pyproject.toml"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise AppError(f"{file} is not valid TOML: {error}") from None


def _reference(value: object, part: str, file: Path) -> str:
    module, _, name = str(value).partition(":")
    if not module or not name:
        raise AppError(f'{file}: {part} = "{value}"; it must name a module and an app in it: "module:app"')
    return str(value)


def _clients(federations: Mapping[str, Any]) -> int | None:
    """Number of clients of the default federation or, without one, of the only one that gives a number."""
    sizes = {
        name: table["options"]["num-supernodes"]
        for name, table in federations.items()
        if isinstance(table, dict) and "num-supernodes" in table.get("options", {})
    }
    default = federations.get("default")
    if default is not None:
        return sizes.get(default)
    return next(iter(sizes.values())) if len(sizes) == 1 else None


def _overrides(texts: Iterable[str], own: Mapping[str, Value], file: Path) -> dict[str, Value]:
    texts = [text for text in texts if text.strip()]
    for text in texts:
        left = _SETTING.sub("", text).strip()
        if left and not text.endswith(".toml"):
            raise AppError(f"run config {text!r}: cannot read {left!r}; write 'key=value key2=\"text\"'")
    try:
        given = flower.parsed_run_config(texts)
    except (ValueError, OSError) as error:
        raise AppError(f"run config {' '.join(texts)!r}: {error}") from None
    for key, value in given.items():
        _check(key, value, own, file)
    return given


def _check(key: str, value: Value, own: Mapping[str, Value], file: Path) -> None:
    if key not in own:
        near = difflib.get_close_matches(key, own, 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        keys = ", ".join(own) or "no keys"
        raise AppError(f"run config {key!r}: the app has no such key; {file} has: {keys}.{hint}")
    if _kind(value) != _kind(own[key]):
        raise AppError(
            f"run config {key} is {value!r}; it must be {_kind(own[key])}, like the app's own {own[key]!r}"
        )


def _kind(value: Value) -> str:
    return {bool: "true or false", str: 'a string in quotes, key="text"'}.get(type(value), "a number")


def _component(folder: Path, part: str, reference: str, kind: type[App]) -> App:
    module_name, _, path = reference.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # what the app needs is missing, not the app
        raise AppError(f'{part} = "{reference}": there is no module {error.name!r} in {folder}') from None
    try:
        for name in path.split("."):
            found = getattr(found, name)
    except AttributeError:
        there = [n for n, v in vars(sys.modules[module_name]).items() if isinstance(v, kind)]
        hint = f"; it has: {', '.join(there)}" if there else ""
        raise AppError(f'{part} = "{reference}": {module_name} has no {path!r}{hint}') from None
    if not isinstance(found, kind):
        raise AppError(
            f'{part} = "{reference}" is of type {type(found).__name__}; it must be a {kind.__name__}'
        )
    return found
