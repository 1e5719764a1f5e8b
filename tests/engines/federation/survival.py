"""A federation of processes that are killed at any place, and started again as systemd would."""

import os
import signal
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from hedgerow.client.policy_file import policy_text
from tests.engines.federation.coordinated import HEDGEROW, Coordinated, coordinated
from tests.engines.federation.devices import OPEN, RECIPE, write_clinics
from tests.engines.federation.processes import _free_ports

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
_PAUSE = 0.05


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
    _ended: threading.Event = field(default_factory=threading.Event)

    @property
    def home(self) -> Path:
        return self.real.home

    def start(self, names: Sequence[str]) -> None:
        """Start all, and wait for the first round."""
        (self.home / "killing").mkdir()
        self.real.start()
        self.real.wait_until_it_serves()
        policy = self.home / "policy.toml"
        policy.write_text(policy_text(OPEN))
        for name in names:
            kit, data = self.real.invite(name), self.home / f"{name}.csv"
            command = [HEDGEROW, "join", str(kit), "--data", str(data), "--policy", str(policy)]
            command += ["--folder", str(self.home / f"device-{name}")]
            self.nodes.append(Node(name, command, self.home / f"{name}.log"))
            self.nodes[-1].start()
        threading.Thread(target=self._keep, daemon=True).start()
        self.real.wait(lambda: self.real.rounds() >= 2, "second round", 600)

    def places(self) -> list[str]:
        """Names of all places that somebody has passed, in order."""
        return list(dict.fromkeys((self.home / "killing" / "places.txt").read_text().splitlines()))

    def kill_at(self, place: str, *, patience: float = 600.0) -> None:
        """Have a process killed where it next passes a place, and wait for the round after that."""
        armed = self.home / "killing" / "armed"
        partial = armed.with_suffix(".partial")
        partial.write_text(place)
        partial.rename(armed)
        self._passed(armed, 1 + 3 * self.seconds_a_round())
        if armed.exists():  # only passed when its process starts
            self.kill(place.partition(" ")[0])
        self._passed(armed, 60.0)
        if armed.exists():
            armed.unlink(missing_ok=True)
            return
        self.wait_for_a_round(place, patience)

    def kill(self, role: str) -> None:
        """Kill a process by its role."""
        with suppress(ProcessLookupError, KeyError):
            os.kill(self.process(role), signal.SIGKILL)

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

    def wait_for_a_round(self, what: str, patience: float = 600.0) -> None:
        """Wait for one more round, and note how much later it came than it should have."""
        began, before, usual = time.monotonic(), self.real.rounds(), self.seconds_a_round()
        self.real.wait(lambda: self.real.rounds() > before, f"round after {what}", patience)
        self.losses.append(Loss(what, max(0.0, time.monotonic() - began - usual)))

    def seconds_a_round(self) -> float:
        """How long a round takes, in the middle."""
        seconds = [float(line["seconds"]) for line in self.real.run.rounds()]
        return statistics.median(seconds) if seconds else 1.0

    def finish(self) -> int:
        """Stop, and go on with the same command to a last round; how many there are."""
        last = self.real.rounds() + 2
        self._ended.set()
        time.sleep(3 * _PAUSE)
        self.real.command("stop")
        assert self.real.up is not None
        self.real.up.wait(timeout=60)
        self.real.overrides = [*self.real.overrides, f"rounds={last}"]
        self.real.start()
        self.real.wait_for_the_end()
        return last

    def _passed(self, armed: Path, seconds: float) -> None:
        until = time.monotonic() + seconds
        while armed.exists() and time.monotonic() < until:
            time.sleep(_PAUSE)

    def _keep(self) -> None:
        """Start again what was killed."""
        while not self._ended.wait(_PAUSE):
            for node in self.nodes:
                if node.process is not None and node.process.poll() is not None:
                    node.start()
            up = self.real.up
            if up is not None and up.poll() == -signal.SIGKILL:
                self.real.start()


@contextmanager
def survivors(home: Path, way: str, names: Sequence[str] = NAMES, rounds: int = 5000) -> Iterator[Survivors]:
    """A federation that is at its second round; at the end all of it is ended."""
    home.mkdir(parents=True, exist_ok=True)
    write_clinics(home, names)
    recipe = home / "clinics.toml"
    recipe.write_text(FEDERATION_RECIPE)
    os.environ["KILLING"] = str(home / "killing")
    with coordinated(home, str(recipe), [*WAYS[way], f"rounds={rounds}"], _free_ports(1)[0]) as real:
        found = Survivors(real)
        try:
            found.start(names)
            yield found
        finally:
            found._ended.set()
            time.sleep(3 * _PAUSE)
            for node in found.nodes:
                if node.process is not None and node.process.poll() is None:
                    node.process.kill()
                    node.process.wait(30)
