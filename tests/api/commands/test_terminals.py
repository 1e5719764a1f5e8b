"""Every command on every terminal: ASCII, cp1252, dumb or narrow; and files with names in any script."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.cells import cell_len
from typer.testing import CliRunner, Result

from hedgerow.experiments.cli import progress
from hedgerow.experiments.cli.catalogue import heat_map
from hedgerow.experiments.cli.main import app
from hedgerow.experiments.cli.progress import sweep_progress
from hedgerow.experiments.cli.streams import tolerate
from hedgerow.experiments.config.names import slug
from hedgerow.experiments.config.recipe import load_sweep, recipe_text
from hedgerow.experiments.runs.store import RunFolder
from hedgerow.experiments.runs.sweep import Progress
from tests.api.commands.command import hedgerow


def on(charset: str, *arguments: str) -> Result:
    return CliRunner(charset=charset).invoke(app, list(arguments), prog_name="hedgerow")


def rows(file: str) -> None:
    text = "größe,label\n" + "".join(f"{k},{'ja ☺' if k % 2 else 'nein ±'}\n" for k in range(30))
    Path(file).write_text(text, encoding="utf-8")


@pytest.mark.parametrize("charset", ["ascii", "cp1252"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("data", "--help"),
        ("data", "heart-disease"),
        ("data", "größe.csv", "label=label"),
        ("list",),
        ("show", "demo"),
        ("check", "heart", "name=Größe ☺"),
        ("run", "there is no ☺"),
        ("compare", "no ☺"),
        ("enrol", "Küche ☺", "device"),
    ],
)
def test_every_command_writes_on_a_terminal_of_any_encoding(charset: str, arguments: tuple[str, ...]) -> None:
    rows("größe.csv")
    plain, found = hedgerow(*arguments), on(charset, *arguments)
    assert found.exit_code == plain.exit_code
    assert not isinstance(found.exception, UnicodeError)
    assert "Traceback" not in found.output
    assert len(found.stdout.splitlines()) == len(plain.stdout.splitlines())


def test_the_shades_of_a_heat_map_are_told_apart_in_ascii() -> None:
    shown = on("ascii", "data", "heart-disease").stdout
    assert "no disease  ##.*" in shown
    assert "samples: . 1-9  : 10-37  * 38-84  # 85-151" in shown


def test_what_an_encoding_lacks_is_written_as_something_like_it(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    tolerate()
    print("81.0 ±0.3, δ 1e-05, Größe, \ud800", flush=True)
    assert raw.getvalue() == b"81.0 +-0.3, delta 1e-05, Gr\\xf6\\xdfe, \\ud800\n"


@pytest.mark.parametrize("arguments", [("--help",), ("list",), ("check", "heart")])
def test_a_terminal_of_no_width_is_one_of_unknown_width(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS")
    wanted = hedgerow(*arguments).stdout
    monkeypatch.setenv("COLUMNS", "0")
    assert hedgerow(*arguments).stdout == wanted != ""


def test_a_run_with_a_name_in_any_script_ends_with_its_report_on_a_dumb_ascii_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as rich has it for a terminal
    monkeypatch.setenv("TERM", "dumb")
    result = on("ascii", "run", "heart", "rounds=2", "name=Größe 日本")
    assert result.exit_code == 0, result.output
    name = "Gr\\xf6\\xdfe \\u65e5\\u672c"
    assert name in result.stdout
    lines = result.stderr.splitlines()
    assert lines[0] == f"{name}: loading data and model"
    assert [line.partition("  ")[0] for line in lines[1:3]] == ["round 1 of 2", "round 2 of 2"]
    (folder,) = Path("runs").iterdir()
    assert folder.name.isascii()
    assert "Größe 日本" in (folder / "report.html").read_text(encoding="utf-8")
    assert RunFolder(folder).config["name"] == "Größe 日本"


def test_names_that_differ_have_folders_that_differ_and_that_every_system_takes() -> None:
    names = ["Größe", "Grüße", "Grosse", "日本", "中国", "con", "NUL", "com1.x", "ä" * 300, "ö" * 300, "."]
    folders = [slug(name) for name in names]
    assert len({folder.lower() for folder in folders}) == len(names)
    for folder in folders:
        assert folder.isascii()
        assert 0 < len(folder) <= 100
        assert folder.partition(".")[0].lower() not in ("con", "nul", "com1", "")


def test_without_bars_a_sweep_says_what_begins_and_how_long_it_takes_still(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    sweep = load_sweep("heart", ["sweep.seed=[1, 2]", "rounds=5"])
    first, second = (cell.folder for cell in sweep.cells)
    with sweep_progress(sweep) as on_progress:
        on_progress(Progress(first, "started", 2))
        on_progress(Progress(first, "round", 3))
        on_progress(Progress(first, "finished", 5))
        on_progress(Progress(second, "started", 0))
    told = capsys.readouterr().err
    assert f"started  {first}\n2 of 10 rounds, 0 of 2 experiments\n3 of 10 rounds" in told
    assert f"finished  {first}\n5 of 10 rounds" in told
    assert f"started  {second}" in told


def test_a_configuration_with_a_byte_order_mark_is_read_and_another_encoding_is_named() -> None:
    text = recipe_text("heart")
    Path("bom.toml").write_text(text, encoding="utf-8-sig")
    Path("windows.toml").write_bytes(text.replace("\n", "\r\n").encode("utf-8-sig"))
    Path("utf-16.toml").write_text(text, encoding="utf-16")
    assert hedgerow("check", "bom.toml").exit_code == 0
    assert hedgerow("check", "windows.toml").exit_code == 0
    refused = hedgerow("check", "utf-16.toml")
    assert refused.exit_code == 2
    assert "it is not UTF-8 text: byte 0 is 0xff; save it as UTF-8" in refused.stderr


def test_a_start_that_failed_does_not_block_the_corrected_one() -> None:
    """First the data are bad, then the model, and then nothing is."""
    Path("rows.csv").write_text("a,label\n1,yes\nx,no\n", encoding="utf-8")
    Path("net.py").write_text("def make():\n    return 3\n", encoding="utf-8")
    run = ("run", "heart", "rounds=1", "data.name=rows.csv", "data.label=label",
           "data.partition.name=iid", "data.partition.clients=2", "model.name=net.py:make")  # fmt: skip
    assert "row 3: column 'a' is 'x'" in hedgerow(*run).stderr
    rows("rows.csv")
    assert "returned 3; it must return a torch.nn.Module" in hedgerow(*run).stderr
    corrected = hedgerow(*run, "model.name=logistic")
    assert corrected.exit_code == 0, corrected.stderr
    assert RunFolder(Path("runs/heart")).config["model"]["name"] == "logistic"
    other = hedgerow(*run, "model.name=mlp-2nn")
    assert other.exit_code == 2
    assert "runs/heart holds a run with another configuration" in other.stderr


def test_names_of_classes_in_any_script_leave_the_columns_of_a_heat_map_in_line() -> None:
    text = heat_map(np.array([[3, 0, 1], [0, 3, 1]]), ["日本語日本語日本語日本語", "größe", "x" * 300]).plain
    shades = text.splitlines()[:3]
    assert {cell_len(line.rstrip("█░▒▓ ")) for line in shades} == {20}
    assert {cell_len(line) for line in shades} == {24}
