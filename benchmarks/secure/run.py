"""What a round of secure aggregation costs, in CPU seconds of one thread and in bytes.

    python benchmarks/secure/run.py [--quick] [--out benchmarks/secure/results.json]

A client's time is all of its five stages; the median of the cohort counts. The
server's is everything it does in a round, with the packing and unpacking of
messages. Vectors are random: training and quantising are not part of it. What
is sent is measured on the Flower messages. At the end, a whole simulated round
of 1,000 clients goes through the in-process grid.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from hedgerow.client.secure.enrolment import SimulatedEnrolments
from hedgerow.experiments.runs.simulate import simulate
from hedgerow.ring.arithmetic import Ring
from hedgerow.ring.secagg import SecureAggregation
from hedgerow.ring.vector import RingVector, Shape, open_payload, read_vector
from hedgerow.secure import client
from hedgerow.secure.codec import decode, encode
from hedgerow.secure.messages import (
    Advert,
    Adverts,
    Delivery,
    Masked,
    Revealed,
    Setup,
    Shares,
    Signed,
    Survivors,
    Unmask,
)
from hedgerow.secure.register import Party, Register
from hedgerow.secure.server import SecureRound
from hedgerow.server.secure import set_up
from hedgerow.strategies import fedavg, parse_pipeline, uniform
from hedgerow.types import Fit, Layout, LocalTraining, Model, Samples
from hedgerow.wire import messages
from hedgerow.wire.sizes import measure


@dataclass
class Clock:
    """CPU seconds by who spent them."""

    server: float = 0.0
    clients: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Time of one party."""
        started = time.process_time()
        yield
        spent = time.process_time() - started
        if name:
            self.clients[name] = self.clients.get(name, 0.0) + spent
        else:
            self.server += spent


def one_round(clients: int, length: int, bits: int, dropped: int) -> dict[str, Any]:
    """A round in which `dropped` clients leave after they have shared: the worst moment for the server."""
    secure, shape = SecureAggregation(), Shape(Ring(bits), length, ("loss",), 0, clients)
    names = [f"client-{i:04d}" for i in range(clients)]
    identities = SimulatedEnrolments(os.urandom(32))
    register = Register({name: identities[name] for name in names})
    parties = {
        name: Party(name, identities.enrolment(None, name).secret, register, secure, lambda n: shape)
        for name in names
    }
    setup = set_up(secure, shape, names, "run", 1, bytes(32))
    server, clock = SecureRound(setup, shape, register), Clock()
    up: dict[str, int] = {}
    states: dict[str, Any] = {}
    random = np.random.default_rng(0)
    total, expected = np.uint64((1 << bits) - 1), np.zeros(length, np.uint64)

    def stage(
        asked: list[str],
        kind: type,
        sent: Callable[[str], bytes],
        act: Callable[[str, Any], Any],
        take: Callable[[str, bytes], None],
    ) -> None:
        for name in asked:
            with clock.of(""):
                data = sent(name)
            with clock.of(name):
                answer, *after = act(name, decode(kind, data))
                states[name] = after[0] if after else None
                reply = messages.pack_stage(encode(answer))
            up[name] = up.get(name, 0) + measure(reply)
            with clock.of(""):
                take(name, messages.unpack_stage(reply))

    announced = encode(setup)
    stage(names, Setup, lambda n: announced, lambda n, m: client.join(parties[n], m),
          lambda n, data: server.add_advert(n, decode(Advert, data)))  # fmt: skip
    with clock.of(""):
        adverts = encode(server.adverts)
    stage(names, Adverts, lambda n: adverts, lambda n, m: client.share(parties[n], states[n], m),
          lambda n, data: server.add_shares(n, decode(Shares, data)))  # fmt: skip
    alive = names[dropped:]
    for name in alive:
        values = random.integers(0, 1 << bits, length, dtype=np.uint64)
        expected += values
        vector = RingVector(values.astype(shape.ring.dtype), np.zeros(shape.words, np.uint64))
        with clock.of(""):
            delivery = encode(server.delivery(name))
        with clock.of(name):
            said, masked, states[name] = client.contribute(
                parties[name], states[name], decode(Delivery, delivery), vector
            )
            reply = messages.pack_vector(open_payload(masked, shape), encode(said))
        up[name] += measure(reply)
        with clock.of(""):
            received = read_vector(messages.unpack_vector(reply), shape)
            server.add_masked(name, decode(Masked, messages.unpack_stage(reply)), received)
    with clock.of(""):
        listed = encode(server.survivors)
    stage(alive, Survivors, lambda n: listed, lambda n, m: client.confirm(parties[n], states[n], m),
          lambda n, data: server.add_signature(n, decode(Signed, data)))  # fmt: skip
    with clock.of(""):
        unmask = encode(server.unmask)
    stage(alive, Unmask, lambda n: unmask, lambda n, m: (client.reveal(parties[n], states[n], m),),
          lambda n, data: server.add_revealed(n, decode(Revealed, data)))  # fmt: skip
    with clock.of(""):
        found = server.unmasked()
    assert (found.values == (expected & total)).all()
    return {
        "clients": clients, "parameters": length, "bits": bits, "dropped": dropped,
        "client_cpu_seconds": round(statistics.median(clock.clients[n] for n in alive), 4),
        "client_cpu_seconds_most": round(max(clock.clients[n] for n in alive), 4),
        "server_cpu_seconds": round(clock.server, 3),
        "upload_bytes": max(up.values()),
        "upload_over_float32": round(max(up.values()) / (4 * length), 4),
    }  # fmt: skip


@dataclass(frozen=True)
class NoTraining:
    """A trainer that does nothing: what is left is the protocol."""

    layout: Layout

    def initial(self, seed: int) -> Model:
        """Zeros."""
        return Model(np.zeros(self.layout.dimension, np.float32))

    def fit(
        self, model: Model, data: Samples, local: LocalTraining, *, seed: int, round: int, client: str
    ) -> Fit:
        """The same delta for everybody."""
        return Fit(
            np.full(self.layout.dimension, 0.25, np.float32), np.empty(0, np.float32), 1, {"loss": 1.0}
        )

    def evaluate(self, model: Model, data: Samples) -> dict[str, float]:
        """Nothing."""
        return {}


@dataclass(frozen=True)
class Nobody:
    """Clients with one sample each."""

    names: tuple[str, ...]

    def samples(self, name: str) -> Samples:
        """One sample."""
        return Samples(np.zeros((1, 1), np.float32), np.zeros(1, np.int64))


def simulated(clients: int, length: int) -> dict[str, Any]:
    """A whole masked round on the in-process grid, from `simulate`."""
    strategy = fedavg(
        pipeline=parse_pipeline("chain(quantize(8, range=1.0), mask())"),
        sampling=uniform(clients),
        weighted=False,
    )
    data = Nobody(tuple(f"client-{i:04d}" for i in range(clients)))
    wall, cpu = time.monotonic(), time.process_time()
    (result,) = simulate(NoTraining(Layout.flat(length)), data, strategy, rounds=1, masks=True)
    assert not result.failed, result.failed
    assert np.abs(result.state.model.parameters - 0.25).max() < 1 / 127
    return {
        "clients": clients, "parameters": length, "neighbours": SecureAggregation().plan(clients).neighbours,
        "counted": clients - len(result.dropped), "wall_seconds": round(time.monotonic() - wall, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "upload_bytes": max(result.bytes_up.values()), "download_bytes": max(result.bytes_down.values()),
    }  # fmt: skip


def best(repeats: int, *arguments: int) -> dict[str, Any]:
    """Each number the smallest of some repeats: other work on the machine only adds."""
    rows = [one_round(*arguments) for _ in range(repeats)]
    return {key: min(row[key] for row in rows) for key in rows[0]}


def main() -> None:
    """Measure, print, and write where it is asked for."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--quick", action="store_true", help="a tenth of everything, to see that it runs")
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--out", type=Path, help="a JSON file for the results")
    given = options.parse_args()
    scale = 10 if given.quick else 1
    rounds = []
    for bits, dropped in ((32, 0), (32, 20), (16, 0), (16, 20), (11, 0), (11, 20), (8, 0), (8, 20)):
        rounds.append(best(given.repeats, 100, 1_000_000 // scale, bits, dropped))
        print(json.dumps(rounds[-1]), flush=True)
    large = simulated(1000 // scale, 100_000 // scale)
    print(json.dumps(large))
    if given.out:
        commit = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        )
        about = {
            "date": date.today().isoformat(), "commit": commit.stdout.strip(), "machine": platform.machine(),
            "processor": _processor(), "cores": os.cpu_count(), "python": platform.python_version(),
            "neighbours": SecureAggregation().plan(100).neighbours, "repeats": given.repeats,
        }  # fmt: skip
        table = {"about": about, "rounds": rounds, "simulated": large}
        given.out.write_text(json.dumps(table, indent=1) + "\n")


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    found = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return found[0] if found else platform.processor()


if __name__ == "__main__":
    main()
