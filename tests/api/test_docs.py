"""Every example, and every command in the README and the guide, runs. They are found, not listed."""

import ast
import re
import shlex
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hedgerow.experiments.cli.main import app
from tests import forked

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
MEASURED = ("run", "sweep")  # commands that take overrides: one round is enough here


def blocks(language: str) -> list[tuple[str, str]]:
    """`(page, text)` of each fenced block."""
    return [
        (page.name, text)
        for page in PAGES
        for text in re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    ]


def test_there_are_as_many_as_we_think():
    assert len(PAGES) == 28
    assert len(EXAMPLES) == 1
    assert len(blocks("python")) == 35
    assert len(blocks("sh")) == 17


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs(example, tmp_path):
    done = forked.run(example.read_text(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout


@pytest.mark.parametrize(("page", "text"), [b for b in blocks("python") if b[0] != "README.md"])
def test_python_in_a_page_runs(page, text, tmp_path):
    done = forked.run(text, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    expected = [line.removeprefix("# ") for line in text.splitlines() if line.startswith("# ")]
    assert all(line in done.stdout for line in expected), done.stdout


def test_the_readme_shows_the_example_as_it_is():
    """So it runs, too."""
    (shown,) = (text for page, text in blocks("python") if page == "README.md")
    body = (ROOT / "examples" / "own_model_and_data.py").read_text().partition('"""\n\n')[2]
    assert shown.strip() == body.strip()
    assert len(ast.parse(shown).body) <= 15


@pytest.mark.parametrize(("page", "text"), [b for b in blocks("sh") if "hedgerow " in b[1]])
def test_commands_in_a_page_run(page, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEDGEROW_DATA", str(tmp_path / "cache"))
    shutil.copytree(ROOT / "tests" / "engines" / "tiny-app", tmp_path / "my-app")
    commands = [
        shlex.split(line, comments=True) for line in text.splitlines() if line.startswith("hedgerow ")
    ]
    assert commands
    for _, command, *rest in commands:
        shorter = ["rounds=1"] if command in MEASURED else []
        done = CliRunner().invoke(app, [command, *rest, *shorter])
        assert done.exit_code == 0, (command, done.output)


def test_the_make_targets_that_pages_name_are_there():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        name
        for page in PAGES
        for name in re.findall(r"`make ([a-z-]+)`|^make ([a-z-]+)", page.read_text(), re.MULTILINE)
    }
    assert {a or b for a, b in named} <= targets
    assert named
