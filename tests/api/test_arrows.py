"""Rooms and files lie where they belong: layers, no circle, and no file that is too long to be read."""

import graphlib
import tomllib
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[2]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]

MOST_LINES = 300


def test_every_room_has_its_place_in_the_layers():
    named = {part.strip() for layer in CONTRACTS[0]["layers"] for part in layer.split("|")}
    package = ROOT / "hedgerow"
    rooms = {f"hedgerow.{p.name}" for p in package.iterdir() if p.is_dir() and not p.name.startswith("__")}
    rooms |= {f"hedgerow.{p.stem}" for p in package.glob("*.py") if p.stem != "__init__"}
    assert len(rooms) == 31
    assert rooms == named


def test_no_file_imports_one_that_imports_it():
    """`make check` finds circles between siblings; this one sees those through an `__init__` too."""
    (contract,) = [c for c in CONTRACTS if c["type"] == "acyclic_siblings"]
    known = {tuple(text.split(" -> ")) for text in contract["ignore_imports"]}
    graph = grimp.build_graph("hedgerow", cache_dir=None)
    imports = {
        file: {other for other in graph.find_modules_directly_imported_by(file) if (file, other) not in known}
        for file in graph.modules
    }
    assert len(imports) > 250
    graphlib.TopologicalSorter(imports).prepare()  # its error names the files of a circle


def test_no_file_has_more_lines_than_can_be_read_at_once():
    folders = ("hedgerow", "tests", "benchmarks", "examples", "scripts")
    files = [p.relative_to(ROOT) for folder in folders for p in (ROOT / folder).rglob("*.py")]
    files += [p.relative_to(ROOT) for kind in ("src", "tests") for p in (ROOT / "web" / kind).rglob("*.ts")]
    ours = [file for file in files if not any(part.startswith(".") for part in file.parts)]
    lines = {file.as_posix(): len((ROOT / file).read_text(encoding="utf-8").splitlines()) for file in ours}
    longer = {file for file, number in lines.items() if number > MOST_LINES}
    assert len(lines) > 500
    assert longer == set()
