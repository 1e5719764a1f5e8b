"""A federation's folder: its address, and all its files.

federation.json   its id, and the address that devices reach it at
members.json      names that are invited, have joined, or have left
register.toml     the identities of its devices, for masks
ca.*, server.*, link.*   certificates, and their keys
link.db, flower/  the SuperLink's database and Flower's home
promotions.jsonl, models/   what was promoted, and the promoted models
phones.json       which page for phones is served, and what it says of the run
graphs/           graphs by which devices train, and which device was sent them
logs/             each process's output, and the event log (up.log)
side-runs/        short Flower runs that were requested
presence.json     when the gateway last heard from each device
processes.json    the processes that `hedgerow up` has started

Only its owner can read it, and each file is written whole or not at all.
"""

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, final

from hedgerow.files import PRIVATE, private_folder, write_whole
from hedgerow.sealed import check, seal

DEFAULT_PORT = 8470
_HOST = re.compile(r"[0-9A-Za-z.:_-]{1,253}")


class FederationError(ValueError):
    """A federation's folder is missing, cannot be read, or does not allow what is asked."""


@dataclass(frozen=True)
class Settings:
    """The contents of `federation.json`.

    Attributes:
        federation: its id, 16 hex digits.
        host: the name or address that devices reach the gateway at.
        port: of the gateway.
        link_port: of the SuperLink, on this machine only.
        own_ca: whether the gateway's certificate is from the federation's own CA, not a public one.
        administrator: public key that signs the register, 64 hex digits; empty before the first one.
        lost_after: seconds of silence after which a device counts as gone. It sends a heartbeat every 10 s.
        status_port: of the status page; 0 before it is first chosen.
    """

    federation: str
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    link_port: int = 0
    own_ca: bool = True
    administrator: str = ""
    lost_after: float = 20.0
    status_port: int = 0

    @property
    def address(self) -> str:
        """The gateway's address.

        >>> Settings("0" * 16, host="::1").address
        'https://[::1]:8470'
        """
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"https://{host}:{self.port}"


@final
@dataclass(frozen=True)
class FederationFolder:
    """The folder of a federation; `make` creates it, `open` opens an existing one."""

    path: Path

    @classmethod
    def make(cls, path: Path) -> "FederationFolder":
        """Create the folder, or make an existing one private; raises `OSError` and `FederationError`."""
        folder = cls(path.absolute())
        if not folder._settings.is_file() and path.is_dir() and any(path.iterdir()):
            raise FederationError(f"{path} is not empty and not a federation; choose another folder")
        private_folder(folder.path)
        private_folder(folder.logs)
        if not folder._settings.is_file():
            folder.save(Settings(secrets.token_hex(8)))
        return folder

    @classmethod
    def open(cls, path: Path) -> "FederationFolder":
        """An existing folder; raises `FederationError`."""
        folder = cls(path.absolute())
        if not folder._settings.is_file():
            raise FederationError(
                f"{path} is not a federation: it has no federation.json; 'hedgerow up RECIPE' makes one, and"
                " --federation names another folder"
            )
        return folder

    @property
    def _settings(self) -> Path:
        return self.path / "federation.json"

    @property
    def logs(self) -> Path:
        """The folder of each process's output."""
        return self.path / "logs"

    @property
    def settings(self) -> Settings:
        """The current settings; raises `FederationError`."""
        try:
            return Settings(**check(json.loads(self._settings.read_bytes())))
        except (OSError, ValueError, TypeError) as error:
            raise FederationError(
                f"{self._settings} cannot be read: {error}; restore it from a copy"
            ) from error

    def save(self, settings: Settings) -> None:
        """Save the settings."""
        self.write("federation.json", asdict(settings))

    def at(self, host: str | None = None, **others: float | None) -> Settings:
        """Change the host, port, status port or time after which a device is lost, if given.

        Raises:
            FederationError: the host is invalid.
        """
        if host is not None and not _HOST.fullmatch(host):
            raise FederationError(f"the host is {host!r}; it must be a host's name or an IP address")
        before = self.settings
        given = {name: value for name, value in {"host": host, **others}.items() if value is not None}
        now = replace(before, **given)  # type: ignore[arg-type]
        if now != before:
            self.save(now)
        return now

    def write(self, name: str, content: Mapping[str, Any], *, durable: bool = True) -> None:
        """Write a table as a JSON file; raises `OSError`."""
        text = json.dumps(seal(content), indent=1, ensure_ascii=False)
        write_whole(self.path / name, text.encode(), durable=durable, mode=PRIVATE)

    def read(self, name: str, default: Any) -> Any:
        """The contents of a JSON file, or the default if it is missing; raises `FederationError`."""
        try:
            return check(json.loads((self.path / name).read_bytes()))
        except FileNotFoundError:
            return default
        except (OSError, ValueError) as error:
            raise FederationError(
                f"{self.path / name} cannot be read: {error}; restore it from a copy"
            ) from error
