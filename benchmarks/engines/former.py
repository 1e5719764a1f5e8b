"""Ours beside an earlier commit of ours: a round of each in turn, so that a noisy machine is noisy for both.

Two runs that are minutes apart differ by up to a third on a machine that others use too; neighbouring rounds
differ by much less.
"""

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any

COMMIT = "43a278a"
TITLE = f"Hedgerow before devices decided for themselves ({COMMIT})"
# Pairs of rounds, after the first round.
PAIRS = {
    "mlp": 150, "cnn": 60, "lenet": 16, "resnet-gn": 8, "gru": 30, "transformer": 24, "cnn-power-law": 30,
}  # fmt: skip
LEAST = 0.97  # times as fast as the earlier one

Measured = dict[str, Any]


def measure(workload: str, interpreter: Path, now: Mapping[str, str], then: Mapping[str, str]) -> Measured:
    """Seconds of rounds, ours and the earlier ones, and how long after their start the first had ended."""
    pairs = PAIRS[workload]
    with _started(workload, pairs + 1, interpreter, now) as ours:
        firsts = [_told(ours)["first"]]
        with _started(workload, pairs + 1, interpreter, then) as theirs:
            firsts.append(_told(theirs)["first"])
            both, seconds = (ours, theirs), ([], [])  # type: tuple[Any, Any], tuple[list[float], list[float]]
            for pair in range(pairs):
                for which in (0, 1) if pair % 2 else (1, 0):
                    both[which].stdin.write("next\n")
                    both[which].stdin.flush()
                    seconds[which].append(_told(both[which])["seconds"])
    return {
        "workload": workload, "ours": seconds[0], "theirs": seconds[1],
        "first_round_ours": firsts[0], "first_round_theirs": firsts[1],
    }  # fmt: skip


@contextmanager
def _started(
    workload: str, rounds: int, interpreter: Path, environment: Mapping[str, str]
) -> Iterator["subprocess.Popen[str]"]:
    command = [
        str(interpreter), "system_hedgerow.py", "--workload", workload, "--rounds", str(rounds),
        "--processes", "2", "--in-turn",
    ]  # fmt: skip
    process = subprocess.Popen(
        command, cwd=Path(__file__).parent, env=environment, text=True, start_new_session=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _told(process: "subprocess.Popen[str]") -> dict[str, float]:
    """The next line about a round; what else is printed is left aside."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith('{"in_turn"'):
            found: dict[str, float] = json.loads(line)["in_turn"]
            return found
    raise RuntimeError(f"{process.args} ended before its rounds did")


def ratios(found: Measured) -> list[float]:
    """How many times as fast as the earlier one each pair of rounds was."""
    return [theirs / ours for ours, theirs in zip(found["ours"], found["theirs"], strict=True)]


def section(measured: list[Measured]) -> str:
    """The table."""
    rows = [
        "| workload | pairs | ours, s a round | earlier | earlier / ours, median (quartiles)"
        " | first round, ours and earlier | |",
        "|---|---|---|---|---|---|---|",
    ]
    for found in measured:
        each = ratios(found)
        low, middle, high = quantiles(each, n=4)
        rows.append(
            f"| {found['workload']} | {len(each)}"
            f" | {median(found['ours']):.3f} | {median(found['theirs']):.3f}"
            f" | {middle:.3f}x ({low:.2f}x to {high:.2f}x)"
            f" | {found['first_round_ours']:.1f} s, {found['first_round_theirs']:.1f} s"
            f" | {'met' if middle >= LEAST else '**missed**'} |"
        )
    return "\n".join([_METHOD, *rows, ""])


_METHOD = f"""\
A round of each in turn, both with two processes, the other waiting meanwhile; which goes first alternates.
At least {LEAST:g}x is asked. The first round is counted from the start of the process, imports included.
"""
