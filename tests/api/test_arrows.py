"""Every room has its place in the layers that `make check` holds the imports to."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_room_has_its_place_in_the_layers():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    named = {part.strip() for layer in contracts[0]["layers"] for part in layer.split("|")}
    package = ROOT / "hedgerow"
    rooms = {f"hedgerow.{p.name}" for p in package.iterdir() if p.is_dir() and not p.name.startswith("__")}
    rooms |= {f"hedgerow.{p.stem}" for p in package.glob("*.py") if p.stem != "__init__"}
    assert len(rooms) == 25
    assert rooms == named
