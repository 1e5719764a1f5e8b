"""What `hedgerow up` keeps gives the model of a simulation, also where its processes are killed."""

import hashlib
import os
import signal

from hedgerow.experiments.config.recipe import load
from hedgerow.experiments.runs.run import run_experiment
from tests.engines.federation.coordinated import coordinated
from tests.engines.federation.processes import _free_ports

CLIENTS = ("cleveland", "hungary", "switzerland", "va-long-beach")
OVERRIDES = ["rounds=4", "strategy.pipeline=error_feedback(top_k(0.3))"]


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_killed_processes_cost_nothing_but_time(tmp_path):
    simulated = run_experiment(load("heart", OVERRIDES), tmp_path / "simulated")
    (port,) = _free_ports(1)
    with coordinated(tmp_path / "real", "heart", OVERRIDES, port) as real:
        real.start()
        real.wait_until_it_serves()
        for name in CLIENTS:
            real.join(name)
        real.wait(lambda: real.rounds() >= 1 and real.server_app(), "first round")
        os.kill(real.server_app(), signal.SIGKILL)
        real.wait_for_the_end()
        print(real.said)
        assert digest(real.run.model) == digest(simulated.model)
