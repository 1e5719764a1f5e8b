"""A federation of processes that are killed at any place, and started again as systemd would."""

import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from hedgerow.client.policy_file import policy_text
from hedgerow.client.trainers import TRAINERS
from tests.engines.federation.coordinated import HEDGEROW, Coordinated, coordinated
from tests.engines.federation.devices import OPEN, RECIPE, write_clinics, write_plugin
from tests.engines.federation.processes import _free_ports
from tests.engines.stateful_run import ROOT

NAMES = ("attic", "barn", "cellar", "den")
KILLING = Path(__file__).parent / "killing"
FEDERATION_RECIPE = RECIPE.replace("clients_per_round = 3", f"clients_per_round = {len(NAMES)}")
WAYS: Mapping[str, Sequence[str]] = {
    "error feedback": ["strategy.pipeline=error_feedback(top_k(0.5), quantize(8))"],
    "scaffold": [
        "strategy.name=scaffold",
        "strategy.weighted=false",
        "strategy.pipeline=error_feedback(top_k(0.5))",
    ],
    "masked": [
        "strategy.name=secure_fedavg",
        "strategy.min_clients=3",
        "strategy.dropout=0.2",
        "strategy.corrupt=0.0",
        "run.record=true",
    ],
}
MOST_LATE = {
    "supervisor": 30.0, "serverapp": 30.0, "gateway": 30.0, "page": 30.0, "node": 30.0,
    "superlink": 75.0, "superexec": 75.0,
}  # fmt: skip
"""Seconds that may be lost when a process is killed or hangs: less for ours than for Flower's."""

_PAUSE, _PATIENCE = 0.05, 600.0


@dataclass
class Node:
    """A device's process."""

    name: str
    command: Sequence[str]
    log: Path
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )


@dataclass(frozen=True)
class Loss:
    """What one kill came to.

    Attributes:
        place: where the process was killed.
        seconds: that the round after it ended later than it would have.
    """

    place: str
    seconds: float


@dataclass
class Survivors:
    """A coordinator and its devices; whatever ends by a kill is started again."""

    real: Coordinated
    nodes: list[Node] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    files: Sequence[Path] = ()
    _ended: threading.Event = field(default_factory=threading.Event)

    @property
    def home(self) -> Path:
        return self.real.home

    @property
    def _armed(self) -> Path:
        return self.home / "killing" / "armed"

    def start(self, names: Sequence[str], armed: str = "") -> None:
        """Start all, and wait for the second round; with a place that is armed from the beginning."""
        (self.home / "killing").mkdir()
        if armed:
            self.arm(armed)
        self.real.start()
        threading.Thread(target=self._keep, daemon=True).start()
        self._wait(lambda: "devices reach it at" in self.real.said, "start")
        policy = self.home / "policy.toml"
        policy.write_text(policy_text(OPEN))
        for name in names:
            kit, data = self.real.invite(name), self.home / f"{name}.csv"
            command = [HEDGEROW, "join", str(kit), "--data", str(data), "--policy", str(policy)]
            command += ["--folder", str(self.home / f"device-{name}")]
            self.nodes.append(Node(name, command, self.home / f"{name}.log"))
            self.nodes[-1].start()
        self._wait(lambda: self.real.rounds() >= 2, "second round")

    def places(self) -> list[str]:
        """Names of all places that somebody has passed, in order."""
        return list(dict.fromkeys((self.home / "killing" / "places.txt").read_text().splitlines()))

    def arm(self, place: str) -> None:
        """Whoever passes a place next is dead at once."""
        partial = self._armed.with_suffix(".partial")
        partial.write_text(place)
        partial.rename(self._armed)

    def kill_at(self, place: str, first: str = "") -> bool:
        """Have a process killed where it next passes a place, and wait for the round after that.

        What is passed by nobody in a round is passed when a process starts, or when a run is lost: so
        those are ended then; `first` at once. Returns whether it was passed at all.
        """
        self.arm(place)
        for provoked in (first, place.partition(" ")[0], "serverapp", "superlink"):
            if provoked:
                self.kill(provoked)
            if self._is_passed(3 + 3 * self.seconds_a_round()):
                self.wait_for_a_round(place)
                return True
        self._armed.unlink(missing_ok=True)
        return False

    def kill(self, role: str) -> None:
        """Kill a process by its role; there may be none just now."""
        with suppress(ProcessLookupError, KeyError):
            if number := self.process(role):  # 0 would be whoever tests
                os.kill(number, signal.SIGKILL)

    def process(self, role: str) -> int:
        """Of a role, or of a device by its name."""
        if role == "supervisor":
            assert self.real.up is not None
            return self.real.up.pid
        if role == "serverapp":
            return self.real.server_app()
        for node in self.nodes:
            if role in (node.name, "node") and node.process is not None:
                return node.process.pid
        return self.real.process(role)

    def wait_for_a_round(self, what: str) -> None:
        """Wait for one more round, and note how much later it came than it should have."""
        began, before, usual = time.monotonic(), self.real.rounds(), self.seconds_a_round()
        self._wait(lambda: self.real.rounds() > before, f"round after {what}")
        self.losses.append(Loss(what, max(0.0, time.monotonic() - began - usual)))

    def seconds_a_round(self) -> float:
        """How long a round takes, in the middle."""
        seconds = [float(line["seconds"]) for line in self.real.run.rounds()]
        return statistics.median(seconds) if seconds else 1.0

    def finish(self) -> int:
        """Stop, and go on with the same command to a last round; how many there are."""
        last = self.real.rounds() + 2
        self.keep_no_more()
        self.real.command("stop")
        assert self.real.up is not None
        self.real.up.wait(timeout=60)
        self.real.overrides = [*self.real.overrides, f"rounds={last}"]
        self.real.start()
        self.real.wait_for_the_end()
        return last

    def keep_no_more(self) -> None:
        """Start nothing again any more."""
        self._ended.set()
        time.sleep(3 * _PAUSE)

    def _wait(self, ready: Callable[[], object], what: str) -> None:
        """Wait, also while a coordinator that was killed is started again."""
        until = time.monotonic() + _PATIENCE
        while not ready():
            assert time.monotonic() < until, f"no {what}:\n{self.real.said}\n{self.real.problems()}"
            time.sleep(_PAUSE)

    def _is_passed(self, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while self._armed.exists() and time.monotonic() < until:
            time.sleep(_PAUSE)
        return not self._armed.exists()

    def _keep(self) -> None:
        """Start again what was killed."""
        while not self._ended.wait(_PAUSE):
            for node in self.nodes:
                if node.process is not None and node.process.poll() is not None:
                    node.start()
            up = self.real.up
            if up is not None and up.poll() not in (None, 0, 130):
                self.real.start()


@contextmanager
def trainer_here(home: Path) -> Iterator[None]:
    """The devices' trainer in this process too, for a simulation of the same run."""
    plugin = write_plugin(home / "plugin-here")
    sys.path.insert(0, str(plugin))
    TRAINERS.__dict__.pop("_plugins", None)
    try:
        yield
    finally:
        sys.path.remove(str(plugin))
        TRAINERS.__dict__.pop("_plugins", None)


@contextmanager
def survivors(home: Path, way: str, *, overrides: Sequence[str] = (), armed: str = "") -> Iterator[Survivors]:
    """A federation that is at its second round; at the end all of it is ended."""
    home.mkdir(parents=True, exist_ok=True)
    files = write_clinics(home, NAMES)
    recipe = home / "clinics.toml"
    recipe.write_text(FEDERATION_RECIPE)
    before = {key: os.environ.get(key) for key in ("KILLING", "PYTHONPATH")}
    path = [str(KILLING), str(write_plugin(home / "plugin")), str(ROOT)]
    os.environ |= {"KILLING": str(home / "killing"), "PYTHONPATH": os.pathsep.join(path)}
    asked = [*WAYS[way], *overrides, "rounds=5000"]
    with coordinated(home, str(recipe), asked, _free_ports(1)[0]) as real:
        found = Survivors(real)
        try:
            found.start(NAMES, armed)
            found.files = files
            yield found
        finally:
            found.keep_no_more()
            for node in found.nodes:
                if node.process is not None and node.process.poll() is None:
                    node.process.kill()
                    node.process.wait(30)
            for key, value in before.items():
                os.environ.pop(key)
                os.environ |= {key: value} if value else {}
