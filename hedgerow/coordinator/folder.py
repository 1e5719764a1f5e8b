"""A federation's folder: its address, and where everything of it lies.

federation.json   its id, and the address that devices reach it at
members.json      who is invited, who has joined, who has left
register.toml     the identities of its devices, for masks
ca.*, server.*, link.*   certificates, and their keys
link.db, flower/  the SuperLink's database and Flower's home
promotions.jsonl, models/   what was promoted, and the promoted models
logs/             what each process says, and what happened (up.log)
side-runs/        short Flower runs that were asked for
presence.json     when the gateway heard of each device last
processes.json    what `hedgerow up` has started

Nobody but its owner can look into it, and each file is written whole or not at all.
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
    """A federation's folder that is not there, cannot be read, or does not allow what is asked."""


@dataclass(frozen=True)
class Settings:
    """What `federation.json` holds.

    Attributes:
        federation: its id, 16 hex digits.
        host: the name or address that devices reach the gateway at.
        port: of the gateway.
        link_port: of the SuperLink, on this machine only.
        own_ca: whether devices know the gateway by the federation's own CA, and not by a public one.
        administrator: public key of who signs the register, 64 hex digits; empty before the first one.
        lost_after: seconds after which a device that was not heard of counts as gone. It says so every 10 s.
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
        """Of the gateway.

        >>> Settings("0" * 16, host="::1").address
        'https://[::1]:8470'
        """
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"https://{host}:{self.port}"


@final
@dataclass(frozen=True)
class FederationFolder:
    """Where everything of a federation lies; `make` makes it, `open` finds one."""

    path: Path

    @classmethod
    def make(cls, path: Path) -> "FederationFolder":
        """Make the folder, or close the one that is there; raises `OSError` and `FederationError`."""
        folder = cls(path.absolute())
        if not folder._settings.is_file() and path.is_dir() and any(path.iterdir()):
            raise FederationError(f"{path} is not empty and is no federation; choose another folder")
        private_folder(folder.path)
        private_folder(folder.logs)
        if not folder._settings.is_file():
            folder.save(Settings(secrets.token_hex(8)))
        return folder

    @classmethod
    def open(cls, path: Path) -> "FederationFolder":
        """One that is there; raises `FederationError`."""
        folder = cls(path.absolute())
        if not folder._settings.is_file():
            raise FederationError(
                f"{path} is no federation: it has no federation.json; 'hedgerow up RECIPE' makes one, and"
                " --federation names another folder"
            )
        return folder

    @property
    def _settings(self) -> Path:
        return self.path / "federation.json"

    @property
    def logs(self) -> Path:
        """Folder of what each process says."""
        return self.path / "logs"

    @property
    def settings(self) -> Settings:
        """As they stand; raises `FederationError`."""
        try:
            return Settings(**check(json.loads(self._settings.read_bytes())))
        except (OSError, ValueError, TypeError) as error:
            raise FederationError(
                f"{self._settings} cannot be read: {error}; restore it from a copy"
            ) from error

    def save(self, settings: Settings) -> None:
        """Write them down."""
        self.write("federation.json", asdict(settings))

    def at(self, host: str | None = None, **others: float | None) -> Settings:
        """Take over another host, port, status port or time after which a device is lost, where given.

        Raises:
            FederationError: the host cannot be one.
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
        """Write a table, as a file of JSON; raises `OSError`."""
        text = json.dumps(seal(content), indent=1, ensure_ascii=False)
        write_whole(self.path / name, text.encode(), durable=durable, mode=PRIVATE)

    def read(self, name: str, default: Any) -> Any:
        """What a file of JSON holds, or the default where there is none; raises `FederationError`."""
        try:
            return check(json.loads((self.path / name).read_bytes()))
        except FileNotFoundError:
            return default
        except (OSError, ValueError) as error:
            raise FederationError(
                f"{self.path / name} cannot be read: {error}; restore it from a copy"
            ) from error
