"""Many devices against one coordinator, and the run's ledger against what a proxy counts.

    python benchmarks/load/run.py [--nodes 300] [--minutes 10]

All on this machine: gateway, SuperLink and ServerApp as `hedgerow up` starts them, and devices as threads of
one process that speak the real protocol over TLS, each with its keys, folder and outbox. Their trainer does
next to nothing. Every device is asked in every round. Writes results.json and README.md beside this file.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import about  # noqa: E402
from coordinator import Coordinator  # noqa: E402
from devices import Devices, environment, own_data, write_plugin  # noqa: E402

SAMPLE_SECONDS, WARM = 5.0, 0.25
LEDGER_NODES, LEDGER_ROUNDS, LEDGER_MEGABYTES = 5, 12, (1, 4)
WANTED = {
    "rounds_a_minute": "at least 4", "p99_seconds": "at most 2", "own_mb_a_minute": "under 1",
    "lost_replies": "0", "ledger_off_percent": "within 2",
}  # fmt: skip


def load(nodes: int, minutes: float, plugin: Path, home: Path) -> dict[str, Any]:
    """Rounds of all devices for some minutes."""
    home.mkdir()
    coordinator = Coordinator(home, nodes, free_port(), environment(plugin, values=100))
    devices = Devices(home / "devices")
    try:
        data = own_data(home)
        names = [f"device-{number:03d}" for number in range(nodes)]
        for kit in coordinator.invite(names):
            devices.join(kit, data)
        print(f"{nodes} devices have joined", flush=True)
        coordinator.wait(lambda: len(coordinator.rounds()) >= 2, 900)
        began, before, memory, busy = time.monotonic(), len(coordinator.rounds()), [], []
        devices.calls.clear()
        cpu = {**coordinator.cpu_seconds(), "devices": time.process_time()}
        while (left := began + 60 * minutes - time.monotonic()) > 0:
            memory.append((time.monotonic() - began, coordinator.megabytes()))
            busy.append(os.getloadavg()[0])
            time.sleep(min(SAMPLE_SECONDS, left))
        elapsed, lines = time.monotonic() - began, coordinator.rounds()[before:]
        after = {**coordinator.cpu_seconds(), "devices": time.process_time()}
        calls = sorted(seconds for _, seconds in devices.calls)
    finally:
        devices.end()
        coordinator.end()
    return {
        "nodes": nodes,
        "minutes": round(elapsed / 60, 2),
        "machine_load": round(statistics.mean(busy), 1),
        "rounds": len(lines),
        "rounds_a_minute": round(len(lines) / elapsed * 60, 2),
        "calls_a_second": round(len(calls) / elapsed, 1),
        "median_seconds": round(statistics.median(calls), 4),
        "p99_seconds": round(calls[int(0.99 * len(calls))], 3),
        "lost_replies": sum(len(line["dropped"]) for line in lines),
        "failed_rounds": sum(bool(line["failed"]) for line in lines),
        "tried_again": len(devices.said),
        "cores": {name: round((after[name] - cpu[name]) / elapsed, 3) for name in after if name in cpu},
        "mb": {name: round(value, 1) for name, value in memory[-1][1].items()},
        "mb_a_minute": slopes(memory, 60 * minutes * WARM),
    }


def slopes(memory: list[tuple[float, dict[str, float]]], after: float) -> dict[str, float]:
    """Megabytes a minute of each process, by least squares, after it is warm."""
    found = {}
    for name in memory[-1][1]:
        points = [(at / 60, sizes[name]) for at, sizes in memory if at >= after and name in sizes]
        if len(points) > 2:
            found[name] = round(statistics.linear_regression(*zip(*points, strict=True)).slope, 3)
    return found


def ledger(megabytes: int, plugin: Path, home: Path) -> dict[str, Any]:
    """What the run says has travelled, and what has gone through a proxy before the gateway."""
    home.mkdir()
    port, door, file = free_port(), free_port(), home / "counts.json"
    values = environment(plugin, values=megabytes * 2**20 // 4)
    coordinator = Coordinator(home, LEDGER_NODES, port, values, LEDGER_ROUNDS)
    proxy = subprocess.Popen([sys.executable, str(HERE / "proxy.py"), str(door), str(port), str(file)])
    devices = Devices(home / "devices")
    try:
        coordinator.wait(file.exists, 60)
        data = own_data(home)
        for kit in coordinator.invite([f"device-{number}" for number in range(LEDGER_NODES)]):
            devices.join(kit, data, f"https://127.0.0.1:{door}")
        # The whole run: a part of it begins and ends in the middle of a round.
        coordinator.wait(lambda: len(coordinator.rounds()) == LEDGER_ROUNDS, 900)
        time.sleep(1.0)
        counted, rounds = json.loads(file.read_text()), coordinator.rounds()
    finally:
        devices.end()
        proxy.kill()
        proxy.wait()
        coordinator.end()
    told = {way: sum(line[f"bytes_{way}"] for line in rounds) for way in ("up", "down")}
    whole = sum(told.values())
    return {
        "megabytes": megabytes, "nodes": LEDGER_NODES, "rounds": len(rounds),
        "ledger": told, "proxy": counted,
        "off_percent": round(100 * (sum(counted.values()) - whole) / whole, 2),
    }  # fmt: skip


def page(results: dict[str, Any]) -> str:
    """The results as a page."""
    found = results["load"]
    own = {name: slope for name, slope in found["mb_a_minute"].items() if name != "superlink"}
    rows = [
        ("rounds a minute", WANTED["rounds_a_minute"], f"{found['rounds_a_minute']:g}"),
        ("p99 of a call", f"{WANTED['p99_seconds']} s", f"{found['p99_seconds']:g} s"),
        (
            "memory of our processes, after warm-up",
            f"{WANTED['own_mb_a_minute']} MB a minute",
            ", ".join(f"{name} {slope:+.2f}" for name, slope in sorted(own.items())),
        ),
        ("lost replies", WANTED["lost_replies"], str(found["lost_replies"])),
        *(
            (
                f"proxy against ledger, model of {each['megabytes']} MB",
                f"{WANTED['ledger_off_percent']} %",
                f"{each['off_percent']:+.2f} %",
            )
            for each in results["ledger"]
        ),
    ]
    return "\n".join(
        [
            "# Many devices against one coordinator",
            "",
            "`python benchmarks/load/run.py` (`make bench-load`): a coordinator and its devices on one"
            f" machine; {found['nodes']} devices, all asked in every round, {found['minutes']:g} minutes.",
            "",
            about.line(results["about"]) + f" Load of the machine before: {results['load_average']}; while it"
            f" ran, {found['machine_load']:g} on average.",
            "",
            "| | wanted | measured |",
            "|---|---|---|",
            *(f"| {' | '.join(row)} |" for row in rows),
            "",
            "Calls are the devices' own, over TLS; a look for messages is counted without the time for which"
            " the gateway held it, because there was none or the SuperLink had no time.",
            "",
            f"{found['calls_a_second']:g} calls a second, {found['median_seconds']:g} s in the middle;"
            f" {found['failed_rounds']} rounds failed. The SuperLink, which is Flower's, grew by"
            f" {found['mb_a_minute'].get('superlink', 0):+.2f} MB a minute, to"
            f" {found['mb']['superlink']:g} MB.",
            "",
            "Cores that each process took: "
            + ", ".join(f"{name} {cores:.2f}" for name, cores in sorted(found["cores"].items()))
            + ". The SuperLink is one process, and has one core at most: that is the limit.",
            "",
        ]
    )


def free_port() -> int:
    """One that nothing listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """Measure, and write it down."""
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--nodes", type=int, default=300)
    given.add_argument("--minutes", type=float, default=10.0)
    given.add_argument("--out", type=Path, default=HERE)
    options = given.parse_args()
    before = ", ".join(f"{number:.1f}" for number in os.getloadavg())
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        plugin = write_plugin(home / "plugin")
        loaded = load(options.nodes, options.minutes, plugin, home / "load")
        print(json.dumps(loaded), flush=True)
        found = [ledger(size, plugin, home / f"ledger-{size}") for size in LEDGER_MEGABYTES]
    results = {
        "about": about.about("hedgerow", "flwr", "numpy"), "load_average": before,
        "load": loaded, "ledger": found,
    }  # fmt: skip
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (options.out / "README.md").write_text(page(results))
    print(page(results))


if __name__ == "__main__":
    main()
