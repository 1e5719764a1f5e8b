"""Folders that only one run at a time may write to.

The file `lock` in a folder names its holder, and stays locked (`flock`) while that
process or any process it started is alive, so a killed process leaves nothing to
clean up. If a file system does not share locks between machines, the name in the
file still keeps other machines out.
"""

import errno
import fcntl
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import final

from hedgerow import checks

FILE = "lock"

_ORPHANS_SECONDS = 10.0  # within which the worker processes of a killed process end by themselves
_PAUSE = 0.05
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)

log = logging.getLogger("hedgerow")


class FolderInUse(OSError):
    """Another process, or another run of this one, is using the folder."""


@dataclass(frozen=True)
class Holder:
    """A process, described so that another one with the same pid is not mistaken for it.

    Attributes:
        pid: its id on its host.
        host: name of the machine.
        boot: id of the machine's current boot; empty if unknown.
        began: start time of the process, in the machine's clock ticks; 0 if unknown.
        since: when it took the folder.
    """

    pid: int
    host: str
    boot: str
    began: int
    since: str

    @classmethod
    def this(cls) -> "Holder":
        """This process, as of now."""
        return cls.of(os.getpid())

    @classmethod
    def of(cls, pid: int) -> "Holder":
        """A process of this machine, as of now."""
        boot = _BOOT.read_text(encoding="ascii").strip() if _BOOT.is_file() else ""
        return cls(pid, socket.gethostname(), boot, _began(pid) or 0, time.strftime("%Y-%m-%d %H:%M:%S"))

    @property
    def here(self) -> bool:
        """Whether it runs, or has run, on this machine."""
        this = Holder.this()
        return self.host == this.host or (self.boot == this.boot and bool(self.boot))

    @property
    def dead(self) -> bool:
        """Whether it ran on this machine and has ended."""
        if not self.here:
            return False
        began = _began(self.pid)
        return began is None or (self.began not in (0, began))


@final
class HeldFolder:
    """A folder that this run holds; created by `hold`."""

    def __init__(self, path: Path, descriptor: int, *, keep: bool) -> None:
        self.path = path
        self._descriptor: int | None = descriptor
        self._keep, self._between_rounds = keep, False

    @property
    def lost(self) -> bool:
        """Whether a later run of this process has taken it over."""
        return self._descriptor is None

    @contextmanager
    def let_go(self) -> Iterator[None]:
        """Between two rounds, let a later run of this process take over the folder.

        A loop over rounds that ended with an exception may stay referenced by a
        traceback for ever, and so never be resumed or closed.

        Raises:
            FolderInUse: it was taken over, and this run cannot continue.
        """
        self._between_rounds = not self._keep
        try:
            yield
        finally:
            with _guard:
                self._between_rounds = False
        if self.lost:
            raise FolderInUse(
                f"a later run of this process has taken over {self.path}, and this one cannot continue;"
                " give each run a folder of its own"
            )


_guard = threading.Lock()
_held: dict[tuple[int, int], HeldFolder] = {}


@contextmanager
def hold(folder: Path | str | HeldFolder, *, keep: bool = False, wait: float = 0.0) -> Iterator[HeldFolder]:
    """Hold a folder, creating it if needed; a `HeldFolder` is passed through.

    Args:
        folder: the folder that nobody else may write to.
        keep: hold it between rounds too, see `let_go`.
        wait: seconds to wait for a living process to release it. The workers
            of a killed process always get a few seconds.

    Raises:
        FolderInUse: somebody else holds it; the error says who.
        OSError: it cannot be created or written to.
    """
    if isinstance(folder, HeldFolder):
        yield folder
        return
    folder = checks.path(folder=folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        problem = "this path, or a folder above it, is a file; choose another folder"
        raise NotADirectoryError(errno.ENOTDIR, problem, str(folder)) from error
    found = folder.stat()
    key = found.st_dev, found.st_ino
    held = _wait_for(folder, key, keep, wait)
    try:
        yield held
    finally:
        with _guard:
            if held._descriptor is not None:
                del _held[key]
                _release(folder / FILE, held._descriptor)
                held._descriptor = None


def holder_of(folder: Path) -> Holder | None:
    """Who holds a folder, or held it when killed; `None` if nobody does."""
    return _read(folder / FILE)


def _wait_for(folder: Path, key: tuple[int, int], keep: bool, wait: float) -> HeldFolder:
    began = time.monotonic()
    while True:
        with _guard:
            if key in _held and not _held[key]._between_rounds:
                raise FolderInUse(f"{folder} is in use by another run of this process; choose another folder")
            if key in _held:
                descriptor, _held[key]._descriptor = _held[key]._descriptor, None
            else:
                descriptor = _locked(folder / FILE)
            if descriptor is not None:
                _held[key] = HeldFolder(folder, descriptor, keep=keep)
                return _held[key]
        holder = _read(folder / FILE)
        patience = wait if holder is not None and not holder.dead else max(wait, _ORPHANS_SECONDS)
        if time.monotonic() - began >= patience:
            raise FolderInUse(_refusal(folder, holder))
        time.sleep(_PAUSE)


def _locked(file: Path) -> int | None:
    """Descriptor of the file, locked and naming this process; `None` if another process holds it."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        locks = _try_to_lock(file, descriptor)
        if not _is(file, descriptor):  # it was released and deleted just now
            raise BlockingIOError
        before = _read(file)
        if before is not None and not (before.here and (locks or before.dead)):
            raise FolderInUse(_refusal(file.parent, before))
        if before is not None:
            log.info("%s was held by process %d, which has ended: taken over", file.parent, before.pid)
        content = json.dumps(asdict(Holder.this())).encode()
        try:
            os.ftruncate(descriptor, 0)
            if os.pwrite(descriptor, content, 0) < len(content):
                raise OSError(errno.ENOSPC, "the disk took only a part of the file")
        except OSError as error:  # the error of a full disk does not name the file
            raise OSError(error.errno, error.strerror, str(file)) from error
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _try_to_lock(file: Path, descriptor: int) -> bool:
    """Whether this file system has locks; raises `BlockingIOError` if another process holds this one."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        log.warning("%s cannot be locked (%s): only its content keeps others out", file, error)
        return False
    return True


def _release(file: Path, descriptor: int) -> None:
    with suppress(OSError):
        if _is(file, descriptor):
            file.unlink()
    with suppress(OSError):  # unlocks it for forked processes too
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def _is(file: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(file.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _read(file: Path) -> Holder | None:
    try:
        return Holder(**json.loads(file.read_bytes()))
    except (OSError, ValueError, TypeError):  # not there, or being written
        return None


def _refusal(folder: Path, holder: Holder | None) -> str:
    if holder is None:
        return f"{folder} is in use by another process; wait until it ends, or choose another folder"
    who = f"process {holder.pid} on {holder.host}, since {holder.since}"
    if holder.dead:
        return (
            f"{folder} was in use by {who}, which has ended, but processes that it started are still there;"
            " end them, or choose another folder"
        )
    text = f"{folder} is in use by {who}; wait until it ends, or choose another folder"
    return text if holder.here else f"{text} (if it has ended already, remove {folder / FILE})"


def _began(pid: int) -> int | None:
    """Start time of a process of this machine; `None` if there is no such process, 0 if unknown."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
        state, began = fields.split()[0], int(fields.split()[19])
    except (OSError, IndexError, ValueError):
        return _is_there(pid)
    return None if state in "ZX" else began


def _is_there(pid: int) -> int | None:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return 0
    return 0
