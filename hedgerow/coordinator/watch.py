"""What an operator sees of a federation and its run: the page and the metrics show no more than this.

For a protected run (masks, or noise for clients or samples), single devices are
shown only as online or dropped: no bytes, no scores.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hedgerow.coordinator.events import events
from hedgerow.coordinator.folder import FederationFolder
from hedgerow.coordinator.presence import heard
from hedgerow.coordinator.status import status_of
from hedgerow.files import read_lines

Row = dict[str, Any]

GOOD, WAITS, BAD = "good", "waits", "bad"
KEPT = ("superlink", "gateway", "page")
"""Processes that run beside the run's own."""

STAGES = "stages.jsonl"
"""A file in the run's folder with a line for each round, with `seconds` by stage."""

_MOST_ROUNDS = 500
_MOST_DEVICES = 200
_SHOWN = (
    "round", "seconds", "bytes_up", "bytes_down", "dropped", "failed", "evaluation", "epsilon", "secure",
    "client_evaluation",
)  # fmt: skip
_PLAIN = ("federation", "address", "runs", "rounds", "gathering", "register")


def by_round(file: Path) -> Sequence[Row]:
    """A line for each round, the last one if it was run again; none if there is no file."""
    lines: dict[int, Row] = {}
    for text in read_lines(file):
        with suppress(ValueError, KeyError, TypeError):
            line = json.loads(text)
            lines[line["round"]] = line
    return [lines[number] for number in sorted(lines)]


def snapshot(folder: FederationFolder) -> Row:
    """Everything that the page shows; raises `FederationError` and `OSError`."""
    found, job = status_of(folder), folder.read("job.json", {})
    run = Path(found["run"]) if found["run"] else None
    lines = [] if run is None else by_round(run / "metrics.jsonl")
    rounds: list[Row] = [
        {"asked": len(line["clients"]), **{key: line[key] for key in _SHOWN if key in line}} for line in lines
    ]
    protected = bool(job.get("protected", True))
    devices = _devices(folder, found["devices"])
    if not protected and run is not None and len(devices) <= _MOST_DEVICES:
        _tell_each(devices, lines, by_round(run / "clients.jsonl"))
    return {
        **{key: found[key] for key in _PLAIN},
        "name": job.get("name") or found["federation"],
        "wanted": int(job.get("wanted", 1)),
        "protected": protected,
        "health": dict(zip(("level", "text"), health(found, devices, rounds, job), strict=True)),
        "devices": sorted(devices, key=_first_what_is_wrong)[:_MOST_DEVICES],
        "states": Counter(each["state"] for each in devices),
        "done": rounds[-_MOST_ROUNDS:],
        "totals": {way: sum(line[way] for line in rounds) for way in ("bytes_up", "bytes_down")},
        "set_aside": [row["name"] for row in found["devices"] if row["set_aside"]],
        "promoted": found["promoted"],
        "phones": found["phones"],
        "log": events(folder),
    }


def health(
    found: Mapping[str, Any], devices: Sequence[Row], rounds: Sequence[Row], job: Mapping[str, Any]
) -> tuple[str, str]:
    """The health as a level and a sentence, for the worst problem."""
    last = rounds[-1] if rounds else None
    done, wanted = last is not None and last["round"] >= (found["rounds"] or 0), int(job.get("wanted", 1))
    if not found["runs"]:
        ended = f"done: {found['rounds']} rounds" if done else "stopped; the same 'hedgerow up' continues"
        return (GOOD if done else BAD), ended
    if dead := [name for name in KEPT if name not in found["processes"]]:
        return BAD, f"the {' and the '.join(dead)} died, and is restarting"
    if done:
        return GOOD, f"done: {found['rounds']} rounds"
    if last is not None and last["failed"]:
        return BAD, f"round {last['round']} changed nothing: {last['failed']}"
    lost = [each["name"] for each in devices if each["state"] == "away" and each["heard"]]
    there = sum(each["state"] == "online" for each in devices)
    if lost:
        return BAD, f"no word from {_names(lost)}"
    if there < wanted:
        return WAITS, f"waiting for {wanted - there} of {wanted} devices"
    if last is not None and last["dropped"]:
        return WAITS, f"round {last['round']} went without {_names(sorted(last['dropped']))}"
    if last is None:
        return GOOD, "all is well: the first round is running"
    return GOOD, f"all is well: {there} device{'s' * (there != 1)} online, nobody dropped"


def _devices(folder: FederationFolder, rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Names and states; for one that is away without having left, also when it was last heard from."""
    last = heard(folder)
    return [
        {
            "name": row["name"],
            "state": row["state"],
            "heard": round(last[row["name"]]) if row["state"] == "away" and row["name"] in last else None,
        }
        for row in rows
    ]


def _first_what_is_wrong(device: Row) -> tuple[int, str]:
    lost = device["heard"] is not None
    return -1 if lost else ("away", "invited", "online").index(device["state"]), device["name"]


def _tell_each(devices: Sequence[Row], lines: Sequence[Row], measured: Sequence[Row]) -> None:
    """Add what each device has sent, received and, if the run keeps that, measured."""
    for device in devices:
        own = [line["clients"][device["name"]] for line in lines if device["name"] in line["clients"]]
        for way in ("bytes_up", "bytes_down"):
            device[way] = sum(each.get(way, 0) for each in own)
        device["asked"] = len(own)
        device["counted"] = len(own) - sum(device["name"] in line["dropped"] for line in lines)
        if measured:
            device["score"] = measured[-1]["clients"].get(device["name"])


def _names(names: Sequence[str]) -> str:
    """Some of the names, in words.

    >>> _names(["a"]), _names(["a", "b", "c", "d"])
    ('a', 'a, b, c and 1 more')
    """
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
