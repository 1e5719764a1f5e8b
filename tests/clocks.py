"""Simulated time in tests: clocks of a few kinds, and runs of a numpy trainer."""

import hedgerow as hr
from hedgerow.simulation.clock.clock import clock
from hedgerow.simulation.clock.profiles import Device, Link
from tests.support import MeanTrainer, clients

DATA = clients(12)
QUICK, SLOW = Device(gflops=1.0, watts=2.0), Device(gflops=0.05, watts=1.0)
NEAR = Link(up=8e4, down=8e4, delay=0.01, price=1.0, joules_up=1e-3, joules_down=1e-4, watts=0.5)
FAR = Link(up=8e3, down=8e3, delay=0.5, loss=0.1, price=2.0, joules_up=1e-2, joules_down=1e-3, watts=0.1)
OWN = {"own_devices": {"quick": QUICK, "slow": SLOW}, "own_links": {"near": NEAR, "far": FAR}}


def fleet(**settings):
    """Half of the clients are quick and near, the others slow and far."""
    given = {"flops_per_example": 1e6, **OWN, **settings}
    return clock(("quick", "slow"), ("near", "far"), (0.5, 0.5), **given)


def run(strategy=None, rounds=4, trainer=None, data=DATA, **settings):
    """All results of a run with a clock, by default five of twelve clients a round."""
    strategy = strategy or hr.fedavg(sampling=hr.uniform(5))
    given = {"clock": fleet(), **settings}
    return list(hr.simulate(trainer or MeanTrainer(), data, strategy, rounds=rounds, **given))


def model(results):
    """The bytes of the last model."""
    return results[-1].state.model.parameters.tobytes()
