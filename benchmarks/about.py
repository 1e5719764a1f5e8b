"""Where a benchmark ran: machine, date, commit and versions, as every page of results says it."""

import os
import platform
import subprocess
from datetime import date
from importlib.metadata import version
from pathlib import Path


def about(*packages: str) -> dict[str, str]:
    """Machine, date, commit and versions, in words."""
    git = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(git, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return {
        "date": date.today().isoformat(),
        "commit": done.stdout.strip(),
        "machine": f"{_processor()}, {os.cpu_count()} cores",
        "versions": ", ".join(
            [f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in packages)]
        ),
    }


def line(results: dict[str, str]) -> str:
    """The same as one line of a page."""
    return f"{results['date']}, commit {results['commit']}, {results['machine']}; {results['versions']}."


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [text.partition(":")[2].strip() for text in lines if text.startswith("model name")]
    return names[0] if names else platform.machine()
