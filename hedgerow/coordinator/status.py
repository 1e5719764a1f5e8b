"""The status of a federation, for its operator."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hedgerow.coordinator import processes
from hedgerow.coordinator.folder import FederationError, FederationFolder
from hedgerow.coordinator.members import load_members
from hedgerow.coordinator.presence import gathering, online
from hedgerow.coordinator.readmission import devices_aside
from hedgerow.coordinator.register import FIRST_USE, served
from hedgerow.locks import Holder, holder_of
from hedgerow.promotion.shelf import Shelf, ShelfError
from hedgerow.server.refusals import refusals_of

Row = dict[str, Any]


def device_rows(folder: FederationFolder) -> Sequence[Row]:
    """A row for each name: online, away or invited, whether it is set aside, and its public identity."""
    members, there, aside = load_members(folder), online(folder), devices_aside(folder)
    rows: list[Row] = [
        {
            "name": name,
            "state": "online" if name in there else "away",
            "set_aside": name in aside,
            "identity": device.identity,
            "node_id": device.node_id,
        }
        for name, device in members.devices.items()
    ]
    rows += [
        {"name": name, "state": "invited", "set_aside": False, "identity": "", "node_id": None}
        for name in members.waited_for
    ]
    return sorted(rows, key=lambda row: str(row["name"]))


def status_of(folder: FederationFolder) -> Row:
    """Everything that `hedgerow status` shows."""
    settings, job, register = folder.settings, folder.read("job.json", {}), served(folder)
    holder = holder_of(folder.path)
    known = {name: Holder(**each) for name, each in folder.read(processes.FILE, {}).items()}
    runs = holder is not None and not holder.dead
    return {
        "federation": settings.federation,
        "address": settings.address,
        "runs": runs,
        "processes": {name: each.pid for name, each in known.items() if runs and not each.dead},
        "run": job.get("run"),
        "rounds": job.get("rounds"),
        "gathering": gathering(folder, int(job.get("wanted", 1))).told() if runs else "",
        "register": {
            "trust": register.trust, "version": register.version, "administrator": register.administrator,
        },
        "promoted": _promoted(folder),
        "devices": device_rows(folder),
        "phones": _phones(folder),
        "refusals": dict(refusals_of(Path(job["run"]))) if runs and job.get("run") else {},
    }  # fmt: skip


def _promoted(folder: FederationFolder) -> Row | None:
    """The current promoted model; `None` before the first."""
    try:
        found = Shelf(folder.path).current()
    except ShelfError as error:
        raise FederationError(str(error)) from error
    if found is None:
        return None
    lineage = found.lineage
    return {
        "digest": found.model, "time": found.time, "rule": found.rule["rule"], "recipe": lineage.recipe,
        "round": lineage.round, "trust": lineage.trust, "privacy": lineage.told_privacy(),
        "metrics": dict(lineage.metrics),
    }  # fmt: skip


def _phones(folder: FederationFolder) -> Row:
    """How many phones have joined and can still join, and until when, in Unix seconds."""
    members = load_members(folder)
    return {
        "joined": sum(device.phone for device in members.devices.values()),
        "places": members.places,
        "ends": members.open.ends if members.open is not None and members.places else None,
    }


def told(status: Mapping[str, Any]) -> list[str]:
    """The status as lines of text."""
    register, running = status["register"], ", ".join(status["processes"])
    runs = "runs" if status["runs"] else "does not run"
    lines = [f"federation {status['federation']} {runs} at {status['address']}"]
    lines += [f"processes: {running}"] if running else []
    lines += [f"run: {status['run']}, {status['rounds']} rounds"] if status["run"] else []
    lines += [status["gathering"]] if status["gathering"] else []
    lines += [f"{name} takes no part: {why}" for name, why in status["refusals"].items()]
    if aside := [row["name"] for row in status["devices"] if row["set_aside"]]:
        lines.append(f"set aside after bad replies: {', '.join(aside)} (hedgerow devices --readmit NAME)")
    if model := status["promoted"]:
        lines.append(f"promoted: {model['digest'][:16]}, round {model['round']} of {model['recipe']}")
    if (phones := status["phones"])["places"]:
        ends = time.strftime("%d %B %Y, %H:%M", time.localtime(phones["ends"]))
        lines.append(f"phones: {phones['joined']} joined, {phones['places']} more can until {ends}")
    if register["trust"] == FIRST_USE:
        lines.append("identities: trusted on first use; the register is not signed (hedgerow register sign)")
    else:
        who = register["administrator"][:16]
        lines.append(f"identities: register version {register['version']}, signed by {who}...")
    return lines
