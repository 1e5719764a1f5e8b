"""A device's folder: its identity and everything it remembers in one federation, private to its owner.

device.json        where the coordinator is, and the CA of its certificate
node.key           identifies the node to the coordinator; secret
identity.key       identifies it to other devices in masked rounds; secret
register.toml      public identities of all devices
policy.toml        what the device answers
privacy-*.jsonl    what its answers have revealed so far
answers.jsonl      a line for each answer that was sent
state/RUN/         client state from round to round, by Hedgerow's run
constants/         constants of the last models, by hash: they are sent once
promoted.json, models/   the model that the coordinator has promoted, and the one before it
descriptions/      descriptions of runs, by digest
graphs/            graphs by which it trains, by hash
outbox/            messages not answered yet, and answers before they are sent
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, final

from hedgerow.client.guard import Guard
from hedgerow.client.policy import Policy
from hedgerow.client.policy_file import NAME as POLICY
from hedgerow.client.policy_file import load_policy
from hedgerow.client.state import Note
from hedgerow.files import PRIVATE, file_name, keep_newest, private_folder, write_whole
from hedgerow.node.keys import NodeKey, node_key
from hedgerow.node.kit import Kit
from hedgerow.sealed import check, seal

_FILE = "device.json"
_MOST_RUNS, _MOST_DESCRIPTIONS = 16, 64


def default_folder(kit: Kit) -> Path:
    """The folder of a device whose owner names none."""
    return Path.home() / ".hedgerow" / kit.federation / file_name(kit.name)


@final
@dataclass(frozen=True)
class Enrolled:
    """The contents of `device.json`.

    Attributes:
        kit: without its token, which has been used.
        gateway: whether a coordinator's gateway stands before the SuperLink.
        node: id that the SuperLink gave it; 0 before it is known.
        data: the device's own data, a path.
        since: when it joined, in seconds since 1970.
        trainer: the one that its owner has chosen; empty to take a run's own, or what there is.
    """

    kit: Kit
    gateway: bool
    node: int
    data: str
    since: float
    trainer: str = ""

    @property
    def first_use(self) -> bool:
        """Whether it trusts other devices' identities on first use, because no register is signed yet."""
        return self.kit.administrator is None


@final
class Device:
    """A device's folder; raises `ValueError` if no device has joined in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            found = check(json.loads((folder / _FILE).read_text(encoding="utf-8")))
            self.enrolled = Enrolled(**{**found, "kit": Kit(**found["kit"])})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ValueError(
                f"{folder} is not a device's folder, or cannot be read: {error}; join with: hedgerow join KIT"
            ) from error

    @classmethod
    def make(cls, folder: Path, enrolled: Enrolled) -> "Device":
        """Record that a device has joined."""
        private_folder(folder)
        plain = replace(enrolled, kit=replace(enrolled.kit, token=None))
        write_whole(folder / _FILE, json.dumps(seal(asdict(plain)), indent=1).encode(), mode=PRIVATE)
        return cls(folder)

    @property
    def name(self) -> str:
        """The device's name in the federation."""
        return self.enrolled.kit.name

    @property
    def key(self) -> NodeKey:
        """The key that identifies the node to the coordinator."""
        return node_key(self.folder / "node.key")

    def change(self, **fields: Any) -> None:
        """Change fields of `Enrolled`, on disk too."""
        changed = replace(self.enrolled, **fields)
        if changed != self.enrolled:
            self.enrolled = type(self).make(self.folder, changed).enrolled

    def guard(self) -> Guard:
        """The policy as it is in its file now, and the accounts; raises `PolicyError`."""
        file = self.folder / POLICY
        return Guard(load_policy(file) if file.exists() else Policy(), self.folder, self.enrolled.data)

    def state(self, run: str) -> Path:
        """The folder of a run's state; the least recently used are removed if there are too many."""
        folder = private_folder(self.folder / "state" / run)
        os.utime(folder)
        keep_newest(folder.parent, _MOST_RUNS)
        return folder

    def description(self, digest: str) -> str | None:
        """A description that was sent before; one that has changed since counts as missing."""
        file = self.folder / "descriptions" / f"{digest}.json"
        data = file.read_bytes() if file.exists() else b""
        return data.decode() if hashlib.sha256(data).hexdigest() == digest else None

    def learn(self, digest: str, description: str) -> None:
        """Keep a description."""
        folder = private_folder(self.folder / "descriptions")
        write_whole(folder / f"{digest}.json", description.encode(), mode=PRIVATE)
        keep_newest(folder, _MOST_DESCRIPTIONS)

    def newest_description(self) -> str | None:
        """The description that was sent last; `None` if none was, or it has changed since."""
        files = sorted((self.folder / "descriptions").glob("*.json"), key=lambda file: file.stat().st_mtime)
        return self.description(files[-1].stem) if files else None

    def erase(self) -> None:
        """Remove keys and state: everything."""
        for secret in ("node.key", "identity.key"):
            (self.folder / secret).unlink(missing_ok=True)
        shutil.rmtree(self.folder)


@final
class FileNotes(MutableMapping[str, Note]):
    """Small records as files in a folder, so that a masked round's state between stages survives a kill."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __getitem__(self, name: str) -> Note:
        file = self._file(name)
        if not file.exists():
            raise KeyError(name)
        found = check(json.loads(file.read_text(encoding="utf-8")))
        return {key: bytes.fromhex(value["hex"]) if isinstance(value, dict) else value
                for key, value in found.items()}  # fmt: skip

    def __setitem__(self, name: str, note: Note) -> None:
        private_folder(self._folder)
        plain = {
            key: {"hex": value.hex()} if isinstance(value, bytes) else value for key, value in note.items()
        }
        write_whole(self._file(name), json.dumps(seal(plain)).encode(), mode=PRIVATE)

    def __delitem__(self, name: str) -> None:
        if name not in self:
            raise KeyError(name)
        self._file(name).unlink()

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._file(name).exists()

    def __iter__(self) -> Iterator[str]:
        return (file.stem for file in self._folder.glob("*.note"))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _file(self, name: str) -> Path:
        return self._folder / f"{file_name(name)}.note"


def wait_for_clock(
    since: float,
    *,
    pause: float = 1.0,
    patience: float = 3600.0,
    wait: Callable[[float], object] = time.sleep,
) -> bool:
    """Wait until the clock has passed a known past time: without a battery it starts in the past.

    Args:
        wait: for some seconds; returns something true to end the waiting.

    Returns:
        Whether the clock now seems right.
    """
    until = time.monotonic() + patience
    while time.time() < since - 5 and time.monotonic() < until:
        if wait(pause):
            break
    return time.time() >= since - 5
