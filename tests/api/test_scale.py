"""The page of arithmetic computes with what was measured, and shows what it computes."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "scale.md").read_text()
MEASURED = json.loads((ROOT / "benchmarks" / "federation_calls" / "results.json").read_text())
PROGRAM = re.search(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)[1]


def computed() -> dict[str, float]:
    """Of the measurements, what the page's program begins with."""
    pull, of_round = MEASURED["calls"]["pull-messages"], MEASURED["round"]
    polls = sum(of_round["calls_of_the_run"][name] for name in ("pull-messages", "send-node-heartbeat"))
    kilobytes = (pull["bytes_up"] + pull["bytes_down"]) / 1e3
    whole = (of_round["bytes_up_of_the_run"] + of_round["bytes_down_of_the_run"]) / 1e3
    return {
        "GATEWAY": pull["cpu_ms_gateway"],
        "SUPERLINK": pull["cpu_ms_superlink"],
        "CALLS": of_round["calls_beside_polling"],
        "OTHER_KB": (whole - polls * kilobytes) / of_round["rounds"],
        "PULL_KB": kilobytes,
        "CONNECTION_MB": MEASURED["connections"]["gateway_bytes_per_connection"] / 1e6,
    }


def test_the_program_begins_with_what_was_measured():
    names: dict[str, float] = {}
    exec(PROGRAM.partition("\n\n\n")[0], names)
    for name, value in computed().items():
        assert names[name] == pytest.approx(value, rel=0.02), name


def test_the_table_is_what_the_program_prints():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == 7
    assert done.stdout in PAGE
    assert f"load of {MEASURED['load_after']:.0f}" in PAGE
