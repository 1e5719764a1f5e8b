"""Devices that a run has set aside after too many bad replies, and their readmission."""

import json
from pathlib import Path

from hedgerow.coordinator.folder import FederationError, FederationFolder
from hedgerow.files import read_lines
from hedgerow.server.set_aside import forgive, forgiven
from hedgerow.wording import did_you_mean


def devices_aside(folder: FederationFolder) -> tuple[str, ...]:
    """Names of the devices that are currently set aside, sorted; raises `FederationError`."""
    run, names, done = _last(folder)
    try:
        pardons = forgiven(run)
    except ValueError as error:
        raise FederationError(str(error)) from error
    # They were set aside in the last recorded round, or before it.
    return tuple(sorted(name for name in names if pardons.get(name, 0) < done))


def readmit(folder: FederationFolder, name: str) -> None:
    """Let a device take part again from the next round on.

    Raises:
        FederationError: it is not set aside.
        OSError: it cannot be written.
    """
    aside = devices_aside(folder)
    run, _, done = _last(folder)
    if run is None or name not in aside:
        there = f"these are: {', '.join(aside)}" if aside else "none is"
        raise FederationError(f"{name!r} is not set aside; {there}.{did_you_mean(name, aside)}")
    forgive(run, [name], done)


def _last(folder: FederationFolder) -> tuple[Path | None, tuple[str, ...], int]:
    """The run's folder, and for its last round the devices set aside, and its number."""
    job = folder.read("job.json", {})
    if not job.get("run"):
        return None, (), 0
    run = Path(job["run"])
    lines = read_lines(run / "metrics.jsonl")
    last = json.loads(lines[-1]) if lines else {}
    return run, tuple(last.get("set_aside", ())), int(last.get("round", 0))
