"""Where a benchmark ran: machine, date, commit and versions, as every page of results says it."""

import os
import platform
import subprocess
from datetime import date
from importlib.metadata import version
from pathlib import Path


def about(*packages: str) -> dict[str, str]:
    """Machine, date, commit and versions, in words."""
    # Of what they write themselves, results and pages, nothing that is measured depends.
    written = "benchmarks/*/results.json", "benchmarks/*/README.md", "tests/attacks/fuzz.json"
    others = [":/", *(f":(exclude,top){path}" for path in written)]
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", *others)
    return {
        "date": date.today().isoformat(),
        "commit": _git("rev-parse", "--short", "HEAD") + ("-dirty" if changed else ""),
        "machine": f"{_processor()}, {os.cpu_count()} cores",
        "versions": ", ".join(
            [f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in packages)]
        ),
    }


def line(results: dict[str, str]) -> str:
    """The same as one line of a page."""
    return f"{results['date']}, commit {results['commit']}, {results['machine']}; {results['versions']}."


def _git(*command: str) -> str:
    done = subprocess.run(
        ["git", *command], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [text.partition(":")[2].strip() for text in lines if text.startswith("model name")]
    return names[0] if names else platform.machine()
