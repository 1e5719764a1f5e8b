"""Devices of a rehearsal: a `hedgerow join` for each file, on the coordinator's machine."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import final

from hedgerow.client.graph_rules import GraphRules
from hedgerow.client.policy import Policy
from hedgerow.client.policy_file import policy_text
from hedgerow.coordinator import processes
from hedgerow.coordinator.folder import FederationFolder
from hedgerow.coordinator.job import RunFailed
from hedgerow.coordinator.members import invite_all
from hedgerow.coordinator.processes import Process
from hedgerow.coordinator.superlink import environment
from hedgerow.files import file_name
from hedgerow.node.described_trainer import BY_GRAPHS


@final
class Rehearsal:
    """The devices' processes; their output is in the federation's logs.

    Args:
        folder: of the federation.
        home: for kits, and for the devices' folders.
        masked: whether devices refuse what is not masked.
        graphs: hash of those by which they train; empty to train by a run's own trainer.
    """

    def __init__(self, folder: FederationFolder, home: Path, *, masked: bool, graphs: str = "") -> None:
        self._folder, self._home = folder, home
        taken = GraphRules(hashes=(graphs,), in_the_clear=True) if graphs else GraphRules()
        self._policy = replace(Policy.unenrolled(), masked_only=masked, graphs=taken)
        self._trainer = ["--trainer", BY_GRAPHS] if graphs else []
        self._devices: dict[str, Process] = {}

    def start(self, files: Mapping[str, Path]) -> None:
        """Invite a device for each file, and have it join.

        Args:
            files: `{name: its data}`.

        Raises:
            FederationError: a name is not allowed for a device.
            OSError: a kit cannot be written, or a process cannot be started.
        """
        policy = self._home / "policy.toml"
        policy.write_text(policy_text(self._policy), encoding="utf-8")
        kits = invite_all(self._folder, list(files), self._home)
        for kit, (name, data) in zip(kits, files.items(), strict=True):
            place = file_name(name)
            command = [
                str(Path(sys.executable).parent / "hedgerow"), "join", str(kit),
                "--data", str(data.absolute()), "--policy", str(policy),
                "--folder", str(self._home / "devices" / place), *self._trainer,
            ]  # fmt: skip
            self._devices[name] = Process(self._folder, f"device-{place}", command, environment(self._folder))
            self._devices[name].start()

    def check(self) -> None:
        """Raise `RunFailed` if a device has ended, because the run would wait for it in vain."""
        for name, device in self._devices.items():
            if how := device.ended():
                raise RunFailed(f"device {name!r} {how}: {device.last_lines(1)}")

    def end(self) -> None:
        """End their processes."""
        processes.end([device.pid for device in self._devices.values() if device.running])
