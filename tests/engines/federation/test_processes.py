"""A federation of real processes runs a Flower app, says how it ended, and leaves nothing behind."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hedgerow.simulation.grid import InProcessGrid
from hedgerow.simulation.server_app import run_server_app
from tests.engines.federation.processes import Federation, federation

APP = Path(__file__).parents[1] / "tiny-app"


def result(log: str) -> object:
    lines = [line for line in log.splitlines() if line.startswith("RESULT ")]
    assert len(lines) == 1, log
    return json.loads(lines[0].removeprefix("RESULT "))


def processes_that_mention(text: str) -> list[str]:
    # Whole lines: whatever imports readline says that a terminal has 80 columns, and ps cuts there.
    listing = subprocess.run(
        ["ps", "-A", "-ww", "-o", "stat=,args="], capture_output=True, text=True, check=True
    ).stdout
    return [line for line in listing.splitlines() if text in line and not line.startswith("Z")]


def test_a_real_federation_and_the_in_process_grid_give_the_same_result(
    real: Federation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = 'two "quoted" words'
    assert real.nodes_online() == 3
    outcome = real.run(APP, {"word": words})
    failed = real.run(APP, {"fail": True})
    with pytest.raises(RuntimeError, match="Invalid run configuration"):
        real.run(APP, {"no-such-key": 1})
    assert outcome.status == "completed", outcome.log
    assert (failed.status, failed.details) == ("failed", "ServerApp failed with exception: asked to fail")
    assert "RuntimeError: asked to fail" in failed.log

    monkeypatch.syspath_prepend(str(APP))
    import tiny

    run_server_app(
        tiny.server_app,
        InProcessGrid(tiny.client_app, 3, run_config={"rounds": 2, "word": words, "fail": False}),
    )
    # Round r adds (1 * 1/4 + 2 * 1/4 + 3 * 1/2, r).
    assert result(capsys.readouterr().out) == result(outcome.log) == {"values": [4.5, 3.0], "word": words}


def test_an_error_inside_carries_the_logs_and_ends_every_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    started: list[Federation] = []

    def break_off() -> None:
        with federation(tmp_path, nodes=1) as real:
            started.append(real)
            assert processes_that_mention(f"{Path(sys.executable).parent}/flower-superlink")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        break_off()
    notes = "".join(caught.value.__notes__)
    assert started
    assert "Starting Flower SuperLink" in notes
    assert "SuperNode ID" in notes
    port = (tmp_path / "client" / "config.toml").read_text().split("127.0.0.1:")[1].split('"')[0]
    assert processes_that_mention(f"127.0.0.1:{port}") == []
