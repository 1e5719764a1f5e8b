"""What a node's calls cost a coordinator: calls and bytes of a round, CPU of a call, memory of a connection.

    python benchmarks/federation_calls/run.py

A federation of three nodes (`hedgerow up`, TLS, keys, gateway, SuperLink) runs plain rounds of a model of
three parameters, so that a round's bytes are those of the protocol. Then a fourth key calls, over one
connection, and others hold connections. CPU is that of the processes, from /proc, and not the time that
passes: other load moves it little. Writes results.json beside this file; docs/scale.md computes with it.
"""

import json
import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent)]

import about  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402

from hedgerow.coordinator.superlink import FLEET  # noqa: E402
from hedgerow.wire.fleet import FLEET as MESSAGES  # noqa: E402
from tests.attacks.gateways import Raw, signed  # noqa: E402
from tests.engines.federation.coordinated import Coordinated, coordinated  # noqa: E402
from tests.engines.federation.device import join  # noqa: E402
from tests.engines.federation.processes import _free_ports  # noqa: E402
from tests.engines.operated.devices import RECIPE, OwnDevice, table  # noqa: E402
from tests.engines.operated.proxy import proxy  # noqa: E402

ROUNDS, NODES, CALLS, CONNECTIONS = 6, 3, 1000, 200
PROCESSES = ("gateway", "superlink")
TICK = os.sysconf("SC_CLK_TCK")


def cpu(pid: int) -> float:
    """Seconds that a process has computed for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def memory(pid: int) -> int:
    """Bytes that a process has in memory."""
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) * 1024


def size(headers: dict[str, str]) -> int:
    """Bytes of these lines."""
    return sum(len(f"{name}: {value}\r\n") for name, value in headers.items())


def of_rounds(real: Coordinated) -> dict[str, Any]:
    """Calls and bytes of a node in a plain round, from a run that has ended."""
    made = []
    with proxy(real.folder, real.port) as between:
        for seed, name in enumerate(("garage", "kitchen", "shed")):
            made.append(OwnDevice(real, name, table(real.home / f"{name}.csv", seed, ("50", "120"))))
        made[1].through(between.address)
        for device in made:
            device.start()
        real.wait(lambda: real.rounds() >= ROUNDS, "the end", 900)
        time.sleep(1.0)
        sent, received = b"".join(between.sent), b"".join(between.received)
        for device in made:
            device.end()
    calls: dict[str, int] = {}
    for name in re.findall(rb"POST /v1/fleet/([a-z-]+) ", sent):
        calls[name.decode()] = calls.get(name.decode(), 0) + 1
    polling = ("pull-messages", "send-node-heartbeat", "activate-node", "deactivate-node")
    return {
        "calls_beside_polling": sum(number for name, number in calls.items() if name not in polling) / ROUNDS,
        "calls_of_the_run": calls,
        "bytes_up_of_the_run": len(sent),
        "bytes_down_of_the_run": len(received),
        "rounds": ROUNDS,
        "payload_bytes_up": mean([line["clients"]["kitchen"]["bytes_up"] for line in real.run.rounds()]),
    }


def of_calls(real: Coordinated) -> dict[str, Any]:
    """CPU and bytes of a pull without a message, and of a heartbeat."""
    key = ec.generate_private_key(ec.SECP384R1())
    node = MESSAGES["Node"](node_id=join(json.loads(real.invite("caller").read_text()), key)[1]["node_id"])
    pids = {name: real.process(name) for name in PROCESSES}
    found: dict[str, Any] = {}
    headers = {"content-type": "application/protobuf", "user-agent": "hedgerow"}
    for name, request in (
        ("pull-messages", MESSAGES["PullMessagesRequest"](node=node)),
        ("send-node-heartbeat", MESSAGES["SendNodeHeartbeatRequest"](node=node, heartbeat_interval=30.0)),
    ):
        body, connection = request.SerializeToString(), Raw(real.folder, real.port)
        before = {process: cpu(pid) for process, pid in pids.items()}
        for number in range(CALLS):
            connection.send("POST", FLEET + name, {**headers, **signed(key)}, body)
            status, got, said = connection.reply()
            while status == 429:  # quicker than a device may be, and the connection is closed then
                time.sleep(1.0)
                connection.socket.close()
                connection = Raw(real.folder, real.port)
                connection.send("POST", FLEET + name, {**headers, **signed(key)}, body)
                status, got, said = connection.reply()
            assert status in (200, 412), (status, said)
            if number == 0:
                up = len(f"POST {FLEET}{name} HTTP/1.1\r\n") + len(body) + 2
                up += sum(
                    len(f"{k}: {v}\r\n") for k, v in {**headers, **signed(key), "host": "x" * 20}.items()
                )
                down = len(said) + sum(len(f"{k}: {v}\r\n") for k, v in got.items()) + 19
                found[name] = {"bytes_up": up, "bytes_down": down}
        for process, pid in pids.items():
            found[name][f"cpu_ms_{process}"] = round((cpu(pid) - before[process]) / CALLS * 1e3, 2)
        connection.socket.close()
    return found


def of_connections(real: Coordinated) -> dict[str, Any]:
    """Memory and CPU of the gateway for a connection that is held after an answer, and for its TLS."""
    pid = real.process("gateway")
    warm = Raw(real.folder, real.port)
    warm.ask("GET", "/register")
    before, began, held = memory(pid), cpu(pid), []
    for _ in range(CONNECTIONS):
        held.append(Raw(real.folder, real.port))
        while held[-1].ask("GET", "/register") == 429:
            time.sleep(1.0)
    taken, computed = memory(pid) - before, cpu(pid) - began
    for each in (warm, *held):
        each.socket.close()
    return {
        "gateway_bytes_per_connection": round(taken / CONNECTIONS),
        "gateway_cpu_ms_per_new_connection": round(computed / CONNECTIONS * 1e3, 2),
        "gateway_bytes_at_rest": before,
        "superlink_bytes": memory(real.process("superlink")),
    }


def main() -> None:
    """Measure, and write what was found."""
    home = Path(tempfile.mkdtemp(prefix="federation-calls-"))
    recipe = home / "clinics.toml"
    recipe.write_text(RECIPE.replace("rounds = 500", f"rounds = {ROUNDS}").partition("[evaluation]")[0]
                      + "[server]\nmin_clients = 3\n")  # fmt: skip
    try:
        with coordinated(home, str(recipe), ["--stay"], _free_ports(1)[0]) as real:
            real.start()
            real.wait_until_it_serves()
            results = {
                **about.about("flwr", "cryptography", "h11", "uvicorn"),
                "load": round(os.getloadavg()[0], 1),
                "round": of_rounds(real),
                "calls": of_calls(real),
                "connections": of_connections(real),
                "load_after": round(os.getloadavg()[0], 1),
            }
    finally:
        shutil.rmtree(home, ignore_errors=True)
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
