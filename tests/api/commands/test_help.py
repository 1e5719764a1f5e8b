"""What the command line explains, and what it says of a mistake: exit codes and texts."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.api.commands.command import hedgerow

COMMANDS = [
    *("run", "sweep", "resume", "compare", "evaluate", "replay", "list", "show", "copy", "check", "data"),
    *("privacy", "audit", "enrol", "register"),
]


def test_help_lists_the_commands_and_what_to_try_first() -> None:
    result = hedgerow("--help")
    assert result.exit_code == 0
    assert [c for c in COMMANDS if re.search(rf"^│ {c}\s+[A-Z]", result.stdout, re.MULTILINE)] == COMMANDS
    assert "hedgerow sweep demo" in result.stdout


@pytest.mark.parametrize("command", [*COMMANDS, "export"])
def test_each_command_explains_itself(command: str) -> None:
    result = hedgerow(command, "--help")
    assert result.exit_code == 0
    assert 'install "hedgerow"' not in result.stdout, "brackets that were taken for markup"
    assert f"hedgerow {command}" in result.stdout
    assert "--help" in result.stdout


def test_arguments_are_explained_too() -> None:
    assert "A recipe's name (see 'hedgerow list'), or a TOML file." in hedgerow("run", "--help").stdout


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from hedgerow.experiments.cli.main import main\ntry: main()\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'flwr', 'matplotlib', 'plotly', 'pydantic', 'numpy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_version_is_printed() -> None:
    from hedgerow import __version__

    assert hedgerow("--version").stdout == f"hedgerow {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["run", "hart"], "Did you mean 'heart'?"),
        (["run", "heart", "rounds=0", "sed=1"], "2 mistakes in heart"),
        (["run", "heart", "strategy.pipeline=quantise(8)"], "Did you mean 'quantize'?"),
        (["run", "demo"], "demo describes 8 experiments; run them with: hedgerow sweep demo"),
        (["sweep", "heart", "rounds"], "'rounds' is not an override; write key=value"),
        (["check", "heart", "local.epoch=3"], "Did you mean 'epochs'?"),
        (["show", "hart"], "Did you mean 'heart'?"),
        (["copy", "hart", "x.toml"], "Did you mean 'heart'?"),
        (["resume", "nowhere"], "nowhere is neither a run nor a sweep"),
        (["compare", "nowhere"], "nowhere"),
        (["data", "hart-disease"], "Did you mean 'heart-disease'?"),
        (["data", "watch", "--partition", "dirchlet"], "Did you mean 'dirichlet'?"),
        (["data", "watch", "windw=3"], "Did you mean 'window'?"),
    ],
)
def test_a_mistake_exits_with_2_and_a_short_text_on_stderr(arguments: list[str], text: str) -> None:
    result = hedgerow(*arguments)
    assert result.exit_code == 2
    assert text in result.stderr
    assert "Traceback" not in result.stderr
    assert not result.stdout
    assert not any(Path().iterdir())


def test_a_usage_error_exits_with_2() -> None:
    assert hedgerow("list", "recipies").exit_code == 2
    assert hedgerow("rum", "demo").exit_code == 2
    assert hedgerow("run").exit_code == 2


def test_a_failure_exits_with_1() -> None:
    result = hedgerow("run", "heart", "data.partition.clients=9")
    assert result.exit_code == 1
    assert "'heart-disease' has 4 natural clients" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("how", ["variable", "option"])
def test_a_traceback_is_shown_on_demand(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if how == "variable":
        monkeypatch.setenv("HEDGEROW_DEBUG", "1")
    result = hedgerow(*(["--debug"] if how == "option" else []), "check", "hart")
    assert result.exit_code == 2
    assert "Traceback" in result.stderr
