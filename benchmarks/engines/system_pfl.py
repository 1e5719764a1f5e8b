"""pfl-research: its FederatedAveraging on its simulated back end, in one process or more."""

import os
import socket
import subprocess
import sys

import measure


def main() -> None:
    """Start the other processes the way pfl documents for one machine, and train."""
    given = measure.arguments()
    if os.environ.get("PFL_WORKER_RANK", "0") != "0":
        from pfl_training import train

        train(given.workload, given.rounds, given.processes, None)
        return
    recorder = measure.Recorder("pfl", ("pfl",), given)
    others = []
    if given.processes > 1:
        os.environ["PFL_WORKER_ADDRESSES"] = ",".join(f"127.0.0.1:{p}" for p in free_ports(given.processes))
        os.environ["PFL_WORKER_RANK"] = "0"
        for number in range(1, given.processes):
            environment = {**os.environ, "PFL_WORKER_RANK": str(number)}
            others.append(subprocess.Popen([sys.executable, *sys.argv], env=environment))
    from pfl_training import train  # not before the addresses are set: pfl reads them when it is imported

    train(given.workload, given.rounds, given.processes, recorder)
    recorder.finish()
    for other in others:
        other.wait()


def free_ports(number: int) -> list[int]:
    """Ports of this machine that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


if __name__ == "__main__":
    main()
