"""The register of identities that a federation serves: the administrator's, or one made from its members."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, final

from hedgerow.client.secure.register_file import load_register, register_line
from hedgerow.client.secure.signed_register import Signature, head, read_signature, verify
from hedgerow.coordinator.folder import FederationError, FederationFolder
from hedgerow.coordinator.members import Members
from hedgerow.files import PRIVATE, write_whole
from hedgerow.secure.errors import Malformed

FILE = "register.toml"
SIGNED, FIRST_USE = "signed", "first-use"


@dataclass(frozen=True)
class Served:
    """The register as devices get it.

    Attributes:
        text: of the file; `None` if no device has an identity.
        trust: `"signed"` by the administrator, or `"first-use"`.
        version: of a signed register; else 0.
        administrator: public key that signed it, 64 hex digits.
    """

    text: str | None
    trust: str
    version: int
    administrator: str | None

    def told(self) -> dict[str, Any]:
        """The answer to `/register`."""
        return {
            "register": self.text, "trust": self.trust, "version": self.version,
            "administrator": self.administrator,
        }  # fmt: skip


def served(folder: FederationFolder) -> Served:
    """The current register; raises `FederationError`."""
    file, administrator = folder.path / FILE, folder.settings.administrator
    text = file.read_text(encoding="utf-8") if file.is_file() else None
    if not administrator:
        return Served(text, FIRST_USE, 0, None)
    try:
        signature = verify(text or "", administrator)
    except Malformed as error:
        raise FederationError(f"{file}: {error}; publish it again: hedgerow register publish FILE") from error
    return Served(text, SIGNED, signature.version, administrator)


@final
class Identities(Mapping[str, bytes]):
    """Keys of the current register in a folder, including devices that join during a run.

    Raises `Malformed` if it cannot be read.
    """

    def __init__(self, folder: FederationFolder) -> None:
        self._file, self._stamp = folder.path / FILE, (0, 0)
        self._keys: Mapping[str, bytes] = {}

    def _now(self) -> Mapping[str, bytes]:
        if self._file.exists():
            about = self._file.stat()
            if (stamp := (about.st_mtime_ns, about.st_ino)) != self._stamp:
                self._keys, self._stamp = load_register(self._file), stamp
        return self._keys

    def __getitem__(self, name: str) -> bytes:
        return self._now()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._now())

    def __len__(self) -> int:
        return len(self._now())


def rebuild(folder: FederationFolder, members: Members) -> None:
    """Write the register of the devices that have joined, unless there is the administrator's."""
    if folder.settings.administrator:
        return
    lines = [
        register_line(name, bytes.fromhex(device.identity))
        for name, device in sorted(members.devices.items())
        if device.identity
    ]
    text = head(0, folder.settings.federation) + "".join(f"{line}\n" for line in lines)
    write_whole(folder.path / FILE, text.encode(), mode=PRIVATE)


def publish(folder: FederationFolder, text: str) -> Signature:
    """Accept a register that the administrator has signed; the first one's key is kept for all later ones.

    Raises:
        FederationError: it is not signed, of another federation, by another administrator, or not newer.
    """
    settings = folder.settings
    try:
        signature = verify(text, settings.administrator or None)
    except Malformed as error:
        raise FederationError(f"the register is rejected: {error}") from error
    if signature.federation != settings.federation:
        raise FederationError(
            f"the register is for federation {signature.federation}, this is {settings.federation}"
        )
    file = folder.path / FILE
    if settings.administrator and file.is_file():
        before = read_signature(file.read_text(encoding="utf-8"))
        if signature.version <= before.version:
            raise FederationError(
                f"the register has version {signature.version}, not above {before.version}; sign a later one"
            )
    write_whole(file, text.encode(), mode=PRIVATE)
    if settings.administrator != signature.administrator:
        folder.save(replace(settings, administrator=signature.administrator))
    return signature
