"""Where devices come and go, a round that has not enough of them waits, and does not fail in no time."""

import pytest

from hedgerow.client.app import client_app
from hedgerow.grids import GridAround
from hedgerow.server import roster
from hedgerow.server.app import train
from hedgerow.server.failures import EveryClientFailed
from hedgerow.simulation.clients import FIRST_NODE_ID
from hedgerow.simulation.flower import task_identity
from hedgerow.simulation.grid import InProcessGrid
from hedgerow.strategies import fedavg, secure_fedavg
from tests.faults.slow_grid import SlowGrid
from tests.support import MeanTrainer, clients

DATA = clients(5)
looked: list[int] = []
NODES = {FIRST_NODE_ID + place: name for place, name in enumerate(DATA.names)}


class Leaving(GridAround):
    """Of its nodes so many are there, each time that somebody looks; all of them after that."""

    def __init__(self, grid, there):
        super().__init__(grid)
        self.there = iter(there)
        self.looks = looked

    def get_node_ids(self):
        found = list(super().get_node_ids())
        self.looks.append(next(self.there, len(found)))
        return found[: self.looks[-1]]


def run(strategy, there, joined=lambda: NODES, **options):
    inner = InProcessGrid(client_app(MeanTrainer(), DATA, strategy, guard=None), 5, names=DATA.names)
    trainer = MeanTrainer()
    with task_identity(1), inner.running():
        grid = Leaving(SlowGrid(inner, DATA.names, None), there)
        found = train(
            grid, strategy, trainer.initial(0), trainer.layout,
            num_rounds=3, min_clients=5, joined=joined, **options,
        )  # fmt: skip
        return list(found)


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(roster.time, "sleep", lambda seconds: None)
    looked.clear()


@pytest.mark.parametrize(
    ("strategy", "options", "there"),
    [
        (fedavg(), {}, [5, 0, 0, 1]),
        (fedavg(), {"quorum": 3}, [5, 0, 2, 2, 4]),
    ],
)
def test_a_round_begins_once_as_many_as_it_needs_are_there(strategy, options, there, caplog):
    results = run(strategy, there, **options)
    assert [result.failed for result in results] == ["", "", ""]
    assert len(results[0].cohort) == there[-1]
    assert looked[: len(there)] == there
    assert sum("it waits" in record.getMessage() for record in caplog.records) == 1


def test_under_a_mask_it_needs_as_many_as_hide_one_another(caplog):
    there = [5, 3, 0, 3, 4]
    with pytest.raises(EveryClientFailed, match="has no identity"):  # nobody is enrolled here
        run(secure_fedavg(min_clients=4), there)
    assert looked == there
    assert sum("it waits" in record.getMessage() for record in caplog.records) == 1


def test_where_nobody_has_joined_by_name_whoever_is_there_is_asked():
    results = run(fedavg(), [5, 0], joined=None)
    assert (results[0].cohort, results[0].failed != "") == ((), True)
