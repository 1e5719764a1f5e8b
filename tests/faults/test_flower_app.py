"""A folder that is no Flower app, and a run config that its app does not take: each told in one message."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hedgerow.simulation.flower_app.app import AppError, load_app, read_app

PYPROJECT = """
[project]
name = "small"
version = "1.0.0"
[tool.flwr.app]
publisher = "hedgerow"
[tool.flwr.app.components]
serverapp = "{module}:server_app"
clientapp = "{module}:client_app"
[tool.flwr.app.config]
num-server-rounds = 3
learning-rate = 0.1
word = "hello"
verbose = false
model.width = 8
"""
CODE = """
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp
server_app = ServerApp()
client_app = ClientApp()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """An app whose modules and place on the path are gone after the test."""
    path, modules = list(sys.path), set(sys.modules)
    (tmp_path / "pyproject.toml").write_text(PYPROJECT.format(module="small_app"))
    (tmp_path / "small_app.py").write_text(CODE)
    yield tmp_path
    sys.path[:] = path
    for module in set(sys.modules) - modules:
        if module.startswith("small_"):
            del sys.modules[module]


def change(folder: Path, old: str, new: str) -> None:
    file = folder / "pyproject.toml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_an_app_is_read_with_its_run_config_flat_and_loaded_with_its_folder_first(folder: Path) -> None:
    app = read_app(folder, ["num-server-rounds=5 model.width=16", "word='two words' verbose=true"])
    assert (app.name, app.clients, app.folder) == ("small", None, folder)
    assert dict(app.run_config) == {
        "num-server-rounds": 5, "learning-rate": 0.1, "word": "two words", "verbose": True, "model.width": 16,
    }  # fmt: skip
    server, client = load_app(app)
    assert sys.path[0] == str(folder)
    assert (server, client) == (sys.modules["small_app"].server_app, sys.modules["small_app"].client_app)


def test_overrides_may_be_a_toml_file(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "more.toml"
    file.write_text("learning-rate = 1\n[model]\nwidth = 2\n")
    app = read_app(folder, [str(file)])
    assert app.overrides == {"learning-rate": 1, "model.width": 2}


@pytest.mark.parametrize(
    ("federations", "clients"),
    [
        ('default = "a"\na.options.num-supernodes = 10\nb.options.num-supernodes = 20', 10),
        ("a.options.num-supernodes = 10", 10),
        ("a.options.num-supernodes = 10\nb.options.num-supernodes = 20", None),
        ('default = "a"\na.address = "127.0.0.1:9093"\nb.options.num-supernodes = 20', None),
    ],
)
def test_the_number_of_clients_is_that_of_the_default_federation(
    folder: Path, federations: str, clients: int | None
) -> None:
    file = folder / "pyproject.toml"
    file.write_text(f"{file.read_text()}[tool.flwr.federations]\n{federations}\n")
    assert read_app(folder).clients == clients


def test_what_is_no_app_folder_is_told(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(AppError, match=r"absent is not a folder; give the folder of a Flower app"):
        read_app(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(AppError, match=r"empty is not a Flower app: it has no pyproject\.toml"):
        read_app(tmp_path / "empty")
    (tmp_path / "empty" / "pyproject.toml").write_text("[project\n")
    with pytest.raises(AppError, match=r"pyproject\.toml is not valid TOML: .*line 1"):
        read_app(tmp_path / "empty")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('[tool.flwr.app]\npublisher = "hedgerow"\n', "", r'Property "publisher" missing'),
        ("[tool.flwr.app.components]", "[tool.other]", r"Missing \[tool\.flwr\.app\.components\] section"),
        ('clientapp = "small_app:client_app"', "", r'Property "clientapp" missing'),
        ("small_app:client_app", "small_app", r'clientapp = "small_app"; it must name a module and an app'),
        ('"hello"', "[1, 2]", r"value for key word needs to be of type"),
        ('serverapp = "small_app:server_app"', 'agentapp = "a:b"', r"describes an agent app"),
    ],
)
def test_what_an_app_lacks_is_told(folder: Path, old: str, new: str, told: str) -> None:
    change(folder, old, new)
    with pytest.raises(AppError, match=told):
        read_app(folder)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("num-rounds=3", r"run config 'num-rounds': the app has no such key; .*has: num-server-rounds, .*"),
        ("model.widht=3", r"Did you mean 'model\.width'\?"),
        ('num-server-rounds="3"', r"num-server-rounds is '3'; it must be a number, like the app's own 3"),
        ("word=3", r"word is 3; it must be a string in quotes"),
        ("verbose=1", r"verbose is 1; it must be true or false"),
        ("num-server-rounds 3", r"cannot read 'num-server-rounds 3'; write 'key=value"),
        ("word=hello", r"invalid format"),
        ("absent.toml", r"run config 'absent\.toml': .*No such file"),
    ],
)
def test_a_run_config_that_the_app_does_not_take_is_told(folder: Path, given: str, told: str) -> None:
    with pytest.raises(AppError, match=told):
        read_app(folder, [given])


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("small_app:client_app", "small_absent:client_app", r"there is no module 'small_absent' in "),
        ("small_app:client_app", "small_app:app", r"small_app has no 'app'; it has: client_app"),
        ("small_app:client_app", "small_app:server_app", r"is of type ServerApp; it must be a ClientApp"),
    ],
)
def test_a_component_that_is_not_there_is_told(folder: Path, old: str, new: str, told: str) -> None:
    change(folder, old, new)
    with pytest.raises(AppError, match=told):
        load_app(read_app(folder))


def test_what_the_app_itself_imports_and_lacks_is_the_apps_own_error(folder: Path) -> None:
    (folder / "small_app.py").write_text("import small_absent\n" + CODE)
    with pytest.raises(ModuleNotFoundError, match="small_absent"):
        load_app(read_app(folder))
