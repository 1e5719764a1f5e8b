"""The README's picture of a laptop and a Raspberry Pi in one federation, of a real run.

    python scripts/pictures/two_terminals.py           writes docs/images/two-terminals.json and .svg
    python scripts/pictures/two_terminals.py --draw    draws the text that was recorded again

The coordinator and the laptop are programs of this environment, which has torch. The Pi is an arm64 system
under qemu, without torch and without Flower, as in `make devices`. The text of all three terminals is what
the commands print, until the last round has ended; of what `join` repeats of the policy, only that it does.
The folder of the run is shown as `~`.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import wrap
from typing import TypeAlias

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from benchmarks import about  # noqa: E402
from hedgerow.client.graph_rules import GraphRules  # noqa: E402
from hedgerow.client.policy import Policy  # noqa: E402
from hedgerow.client.policy_file import policy_text  # noqa: E402
from hedgerow.graphs.offer import read_signed  # noqa: E402
from tests.engines.federation.coordinated import HEDGEROW, Coordinated, coordinated  # noqa: E402
from tests.engines.federation.devices import RECIPE, write_clinics  # noqa: E402
from tests.engines.federation.processes import _free_ports  # noqa: E402
from tests.installs.arm64 import Arm64  # noqa: E402

PICTURE = ROOT / "docs" / "images" / "two-terminals.svg"
OVERRIDES = [
    "rounds=3", "model.name=mlp-2nn", "model.hidden=32", "run.trainer=loop", "strategy.clients_per_round=2",
    "local.batch_size=16", "local.momentum=0.9", "local.learning_rate=0.05", "evaluation.clients=all",
]  # fmt: skip
MACHINE = (
    "import platform, importlib.util as u; print(platform.machine(), 'torch:', bool(u.find_spec('torch')))"
)
SECONDS = 400.0


@dataclass
class Terminal:
    """What a person typed and saw.

    Attributes:
        title: of its window.
        lines: in order; what was typed begins with `$ `.
    """

    title: str
    lines: list[str] = field(default_factory=list)

    def run(self, shown: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """A command that ends, and what it prints."""
        done = subprocess.run(command, env=dict(environment), capture_output=True, text=True, check=True)
        self.lines += [f"$ {shown}", *done.stdout.splitlines()]

    @contextmanager
    def running(
        self, shown: str, command: Sequence[str], environment: Mapping[str, str], place: Path
    ) -> Iterator[None]:
        """A command that runs meanwhile; what it prints until it is ended."""
        log = place / f"{self.title.split(',')[0]}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                command, cwd=place, env=dict(environment), stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
        try:
            yield
        finally:
            process.terminate()
            process.wait(60)
            self.lines += [f"$ {shown}", *log.read_text().splitlines()]


def recorded(place: Path) -> list[Terminal]:
    """Both devices and the coordinator, from the first message to the last."""
    recipe, offered = str(place / "clinics.toml"), [*OVERRIDES, "--graphs", "graphs"]
    Path(recipe).write_text(RECIPE)
    write_clinics(place, ["laptop", "pi"])
    arm64 = Arm64.made().with_hedgerow(place / "arm64")
    with coordinated(place, recipe, offered, _free_ports(1)[0]) as real:
        real.command("export", recipe, *OVERRIDES, "--out", "graphs", "--sign", "signing.key")
        rules = GraphRules(keys=(read_signed(place / "graphs")[1].key,), in_the_clear=True)
        policy = policy_text(replace(Policy.unenrolled(), graphs=rules))
        (place / "policy.toml").write_text(policy)
        real.start()
        real.wait_until_it_serves()
        for name in ("laptop", "pi"):
            real.invite(name)
        laptop: Device = Terminal("laptop, with torch"), [sys.executable], [HEDGEROW], os.environ
        on_pi = [str(arm64.root.python)], arm64.command(), arm64.variables()
        pi: Device = Terminal("pi, without torch"), *on_pi
        _take_part(real, place, laptop, pi)
        ran = Terminal("coordinator", [f"$ hedgerow up clinics.toml {' '.join(offered)}"])
        ran.lines += [line for line in real.said.splitlines() if not line.startswith("status page")]
        shown = [laptop[0], pi[0], ran]
    for terminal in shown:
        lines = [line.replace(str(place), "~") for line in terminal.lines]
        told = [line for line in lines if line not in policy.splitlines()]
        terminal.lines = told if told == lines else [*_with(told, "(the policy)")]
    return shown


Device: TypeAlias = tuple[Terminal, list[str], list[str], Mapping[str, str]]
"""Its terminal, how Python and `hedgerow` are started on it, and with which environment variables."""


def _take_part(real: Coordinated, place: Path, *devices: Device) -> None:
    """Both devices join, and take part until the run has ended."""
    running = []
    for terminal, python, hedgerow, variables in devices:
        name = terminal.title.partition(",")[0]
        home = {**variables, "HOME": str(place / f"home-{name}"), "PYTHONUNBUFFERED": "1"}
        terminal.run(f'python -c "{MACHINE}"', [*python, "-c", MACHINE], home)
        join = ["join", f"{name}.kit", "--data", f"{name}.csv", "--policy", "policy.toml"]
        running.append(terminal.running(f"hedgerow {' '.join(join)}", [*hedgerow, *join], home, place))
    with running[0], running[1]:
        assert real.up is not None
        if real.up.wait(SECONDS):
            raise SystemExit(f"{real.said}\n{real.problems()}")


def _with(lines: list[str], cut: str) -> Iterator[str]:
    """The lines, with a note of what is left out after `join`."""
    for line in lines:
        yield line
        if line.startswith("$ hedgerow join"):
            yield cut


SIZE, WIDE, HIGH, COLUMNS, MARGIN = 12, 7.25, 17, 66, 14


def drawn(terminals: Sequence[Terminal]) -> str:
    """The first two side by side, the others below."""
    width = COLUMNS * WIDE + 2 * MARGIN
    columns = COLUMNS, COLUMNS, 2 * COLUMNS + 4
    texts = [_wrapped(_rounds(each.lines), most) for each, most in zip(terminals, columns, strict=True)]
    upper = max(map(len, texts[:2])) * HIGH + 3 * MARGIN + 10
    lower = len(texts[2]) * HIGH + 3 * MARGIN + 10
    whole = 2 * width + MARGIN, upper + MARGIN + lower
    places = (
        (0.0, 0.0, width, upper),
        (width + MARGIN, 0.0, width, upper),
        (0.0, upper + MARGIN, whole[0], lower),
    )
    windows = "\n".join(
        _window(terminal.title, text, *place)
        for terminal, text, place in zip(terminals, texts, places, strict=True)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {whole[0]:.0f} {whole[1]:.0f}"'
        f' font-family="ui-monospace, Menlo, Consolas, DejaVu Sans Mono, monospace" font-size="{SIZE}">\n'
        f"{windows}\n</svg>\n"
    )


def _window(title: str, lines: Sequence[str], x: float, y: float, width: float, height: float) -> str:
    rows = "\n".join(
        f'<text x="{x + MARGIN:.1f}" y="{y + 44 + k * HIGH:.1f}" xml:space="preserve"'
        f' fill="{"#7ee787" if line.startswith("$ ") else "#d0d7de"}">{escape(line)}</text>'
        for k, line in enumerate(lines)
    )
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="8" fill="#161b22"/>\n'
        f'<text x="{x + width / 2:.1f}" y="{y + 19:.1f}" text-anchor="middle" fill="#8b949e">{title}</text>\n'
        f"{rows}"
    )


def _rounds(lines: Sequence[str]) -> list[str]:
    """Until the last round, from homes that are the persons' own."""
    last = max(k for k, line in enumerate(lines) if line.startswith(("answered ", "round ")))
    return [re.sub(r"~/home-\w+/", "~/", line) for line in lines[: last + 1]]


def _wrapped(lines: Sequence[str], most: int) -> list[str]:
    return [part for line in lines for part in wrap(line, most, subsequent_indent="    ") or [""]]


def main() -> None:
    """Record and draw."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--draw", action="store_true", help="only draw what was recorded")
    record = PICTURE.with_suffix(".json")
    if not options.parse_args().draw:
        with TemporaryDirectory() as place:
            told = [asdict(terminal) for terminal in recorded(Path(place))]
        record.write_text(json.dumps({**about.about("hedgerow"), "terminals": told}, indent=1) + "\n")
    found = json.loads(record.read_text())["terminals"]
    PICTURE.write_text(drawn([Terminal(**each) for each in found]))


if __name__ == "__main__":
    main()
