"""Fresh environments with Hedgerow in them, installed by pip from its wheel."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Environment:
    """An environment of Python's.

    Attributes:
        extra: of Hedgerow; empty for a bare install.
        path: where it lies.
    """

    extra: str
    path: Path

    @property
    def python(self) -> str:
        return str(self.path / "bin" / "python")

    @property
    def hedgerow(self) -> str:
        return str(self.path / "bin" / "hedgerow")

    @property
    def packages(self) -> Path:
        (found,) = self.path.glob("lib/python3.*/site-packages")
        return found

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run a program of it, which sees nothing of the environment that the tests run in."""
        return subprocess.run(
            [str(self.path / "bin" / command[0]), *command[1:]],
            env=self.variables(COLUMNS="200"), capture_output=True, text=True, check=False,
        )  # fmt: skip

    def variables(self, **more: str) -> dict[str, str]:
        """Environment variables of its programs; the interpreter's library may lie beside a copy of it."""
        home = re.search(r"^home = (.*)$", (self.path / "pyvenv.cfg").read_text(), re.MULTILINE)
        assert home is not None
        return clean(LD_LIBRARY_PATH=str(Path(home[1]).parent / "lib"), **more)

    def importable(self, *modules: str) -> list[str]:
        """Those that can be imported."""
        code = (
            "import importlib, sys\n"
            "for name in sys.argv[1:]:\n"
            "    try: print(importlib.import_module(name).__name__)\n"
            "    except ImportError: pass\n"
        )
        return self.run("python", "-c", code, *modules).stdout.split()

    def megabytes(self) -> float:
        """Of what pip has written, without compiled files."""
        files = (file for file in self.packages.rglob("*") if file.suffix != ".pyc")
        return sum(file.lstat().st_size for file in files if not file.is_dir()) / 1e6


def clean(**more: str) -> dict[str, str]:
    """Environment variables with which nothing but an environment's own packages is found."""
    dropped = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return {**kept, "FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1", **more}


@contextmanager
def running(
    command: Sequence[str], log: Path, environment: Mapping[str, str]
) -> Iterator["subprocess.Popen[bytes]"]:
    """A process whose output is added to a file; it is ended as systemd would."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def interpreter(folder: Path) -> str:
    """The Python that the tests run on, at a place that every user of the machine can reach.

    Links to its files, where it lies in somebody's home.
    """
    base = Path(sys.base_prefix).resolve()
    if all(place.stat().st_mode & 0o005 == 0o005 for place in (base, *base.parents)):
        return str(base / "bin" / Path(sys.executable).resolve().name)
    skip = shutil.ignore_patterns(
        "site-packages", "test", "tests", "idlelib", "config-3*", "share", "include"
    )
    shutil.copytree(base, folder, symlinks=True, ignore=skip, copy_function=_link)
    return str(folder / "bin" / Path(sys.executable).resolve().name)


def build_wheel(folder: Path) -> Path:
    """Hedgerow's wheel, of the sources as they are."""
    _pip(sys.executable, "wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT))
    (wheel,) = folder.glob("hedgerow-*.whl")
    return wheel


def install(python: str, folder: Path, wheel: Path, extra: str, more: Sequence[str] = ()) -> Environment:
    """An environment that has nothing but the wheel, with an extra, and what that brings.

    Nothing is compiled: who runs it can do that. Where torch is among it, it is the version that tests run
    with: of another, pip may take a build with gigabytes of CUDA.
    """
    subprocess.run([python, "-m", "venv", "--without-pip", str(folder)], check=True)
    environment = Environment(extra, folder)
    what = f"hedgerow[{extra}] @ {wheel.as_uri()}" if extra else str(wheel)
    versions = folder.with_name(f"{folder.name}-versions.txt")
    versions.write_text(f"torch=={version('torch').partition('+')[0]}\n")
    _pip(environment.python, "install", "--no-compile", "--constraint", str(versions), what, *more)
    return environment


def _pip(python: str, *arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--python", python, *arguments, "--quiet"]
    done = subprocess.run(command, env=clean(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _link(source: str, target: str) -> None:
    with suppress(OSError):
        os.link(source, target)
        return
    shutil.copy2(source, target)
