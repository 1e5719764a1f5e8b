"""Commands are run in an empty folder."""

from pathlib import Path

import pytest

from tests.api.commands.command import ROOT


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("HEDGEROW_DEBUG", raising=False)
