"""A root of arm64 programs, run by qemu: Debian's Python, and the wheels of a bare install.

All of it is brought by apt and pip, by name, into one folder, which is kept (`HEDGEROW_ARM64`, or
`~/.cache/hedgerow-arm64`). apt has lists of its own there: nothing of the machine changes.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tests.installs.environments import ROOT, build_wheel, clean

CACHE = Path(os.environ.get("HEDGEROW_ARM64") or Path.home() / ".cache" / "hedgerow-arm64")
PROCESSOR = "cortex-a72"
"""Of a Raspberry Pi 4."""

_PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64")


def why_not() -> str:
    """Why a root cannot be made here; empty where it can."""
    missing = [name for name in ("apt-get", "dpkg") if shutil.which(name) is None]
    if missing:
        return f"NO {' AND '.join(missing).upper()}: an arm64 device was NOT tried"
    return "" if _release() else "NOT DEBIAN: an arm64 device was NOT tried"


@dataclass(frozen=True)
class Arm64:
    """A root, with a Python that any program of this machine can start.

    Attributes:
        path: of the cache.
    """

    path: Path

    @classmethod
    def made(cls, path: Path = CACHE) -> "Arm64":
        """The root in a cache; what is missing of it is brought."""
        path.mkdir(parents=True, exist_ok=True)
        root = cls(path)
        for name, make in (("root", root._debian), ("qemu", root._qemu), (_packages(), root._wheels)):
            if not (path / name).is_dir():
                partial = path / f"{name}.partial"
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir()
                make(partial)
                partial.rename(path / name)
        return root

    @cached_property
    def python(self) -> Path:
        """A program that runs the root's Python; it is `sys.executable` there, and can be executed again."""
        program = self.path / "python"
        qemu = self.path / "qemu" / "usr" / "bin" / "qemu-aarch64-static"
        program.write_text(
            "#!/bin/sh\n"
            f'PYTHONHOME=/usr exec {qemu} -cpu {PROCESSOR} -L {self._root} -0 "$0" {self._interpreter} "$@"\n'
        )
        program.chmod(0o755)
        return program

    def with_hedgerow(self, place: Path) -> "Arm64Environment":
        """An environment with Hedgerow's wheel, of the sources as they are."""
        wheel = build_wheel(place / "wheel")
        _pip("--target", str(place / "hedgerow"), "--no-deps", str(wheel))
        return Arm64Environment(self, place / "hedgerow")

    @property
    def _root(self) -> Path:
        return self.path / "root"

    @property
    def _interpreter(self) -> Path:
        return next(
            each for each in (self._root / "usr" / "bin").glob("python3.*") if each.name[8:].isdigit()
        )

    def _debian(self, into: Path) -> None:
        apt = self._apt("arm64")
        _run(*apt, "install", "--download-only", "--yes", "--no-install-recommends", "python3", "libstdc++6")
        for package in (self.path / "apt-arm64" / "cache" / "archives").glob("*.deb"):
            _run("dpkg", "--extract", str(package), str(into))

    def _qemu(self, into: Path) -> None:
        here = _run("dpkg", "--print-architecture").strip()
        _run(*self._apt(here), "download", "qemu-user-static", cwd=into)
        (package,) = into.glob("*.deb")
        _run("dpkg", "--extract", str(package), str(into))
        package.unlink()

    def _wheels(self, into: Path) -> None:
        platforms = [part for each in _PLATFORMS for part in ("--platform", each)]
        version = self._interpreter.name.removeprefix("python")
        for_it = ["--only-binary=:all:", "--python-version", version, "--implementation", "cp"]
        _pip("--target", str(into), *platforms, *for_it, *_dependencies())

    def _apt(self, architecture: str) -> list[str]:
        """`apt-get` with lists of its own, of one architecture, from where this machine has its packages."""
        place = self.path / f"apt-{architecture}"
        command = ["apt-get", "--quiet=2", "-c", str(place / "apt.conf")]
        if place.is_dir():
            return command
        for folder in ("state/lists/partial", "cache/archives/partial"):
            (place / folder).mkdir(parents=True)
        (place / "status").touch()
        site, release = _release()
        (place / "sources.list").write_text(f"deb {site} {release} main\n")
        (place / "apt.conf").write_text(
            f'Dir::State "{place}/state";\nDir::State::status "{place}/status";\n'
            f'Dir::Cache "{place}/cache";\n'
            f'Dir::Etc::sourcelist "{place}/sources.list";\nDir::Etc::sourceparts "-";\n'
            f'APT::Architecture "{architecture}";\nAPT::Architectures {{ "{architecture}"; }};\n'
            'Acquire::Languages "none";\nAPT::Sandbox::User "";\n'
        )
        _run(*command, "update")
        return command


@dataclass(frozen=True)
class Arm64Environment:
    """Hedgerow on the root's Python, and nothing of this machine's own."""

    root: Arm64
    packages: Path

    def command(self, *arguments: str) -> list[str]:
        """Of `hedgerow`."""
        start = "from hedgerow.experiments.cli.start import main; main()"
        return [str(self.root.python), "-c", start, *arguments]

    def variables(self, *more: Path) -> dict[str, str]:
        """Environment variables, with further folders of packages."""
        path = [str(each) for each in (self.packages, self.root.path / _packages(), *more)]
        return clean(PYTHONPATH=os.pathsep.join(path), COLUMNS="200", PYTHONNOUSERSITE="1")

    def run(self, *command: str) -> str:
        """What a command of Python prints."""
        return _run(*command, env=self.variables())


def _dependencies() -> list[str]:
    """What a bare install brings."""
    return list(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"])


def _packages() -> str:
    """The folder of these, and of no others."""
    return f"packages-{hashlib.sha256(repr(_dependencies()).encode()).hexdigest()[:12]}"


def _release() -> tuple[str, str] | None:
    """Where this machine has Debian's packages, and of which release."""
    about = Path("/etc/os-release")
    codename = ""
    if about.exists():
        lines = dict(line.split("=", 1) for line in about.read_text().splitlines() if "=" in line)
        codename = lines.get("VERSION_CODENAME", "").strip('"')
    form = "$(SITE) $(RELEASE)"
    told = _run("apt-get", "indextargets", "--format", form, "Created-By: Packages", "Component: main")
    found = [line.split() for line in told.splitlines()]
    return next(((site, release) for site, release in found if release == codename), None)


def _pip(*arguments: str) -> None:
    _run(sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", *arguments, env=clean())


def _run(*command: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout
