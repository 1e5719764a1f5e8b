"""The ServerApp of a canary: devices evaluate two models, and their results are recorded."""

import time
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from safetensors.numpy import load

from hedgerow.coordinator.folder import FederationFolder
from hedgerow.coordinator.members import load_members
from hedgerow.coordinator.ringing import RingingGrid
from hedgerow.coordinator.side_runs import SideRun
from hedgerow.coordinator.superlink import let_messages_be_answered_early
from hedgerow.experiments.runs.announce import announcement_of
from hedgerow.experiments.runs.compared import PAIR, compare, to_json
from hedgerow.experiments.runs.evaluate import begun_experiment
from hedgerow.experiments.runs.graphs import offer_of
from hedgerow.experiments.runs.simulate import measuring_trainer
from hedgerow.promotion.canary import Comparison
from hedgerow.promotion.tensors import model_of
from hedgerow.server.announced import run_id
from hedgerow.server.described import DescribedGrid

SERVER_APP = f"{__name__}:server_app"

ABSENT = "not there"
_WAIT_SECONDS = 90.0
"""Time for devices to connect: after a pause of the federation they poll once a minute."""

_REPLY_SECONDS = 120.0

server_app = ServerApp()


@server_app.main()
def main(grid: Grid, context: Context) -> None:
    """Ask the devices in `names`, with the two models in the folder `side`."""
    let_messages_be_answered_early()
    config = context.run_config
    side, run = SideRun(Path(str(config["side"]))), Path(str(config["run"]))
    experiment = begun_experiment(run)
    layout = measuring_trainer(experiment).layout
    candidate, current = (model_of(load((side.path / name).read_bytes()), layout) for name in PAIR)
    federation = FederationFolder.open(Path(str(config["federation"])))
    names = str(config["names"]).split("\n")
    nodes = _there(grid, federation, names)
    announced = announcement_of(experiment, layout, run_id(run), offer_of(run))
    ringing = RingingGrid(grid, federation)
    found = compare(
        DescribedGrid(ringing, announced), experiment, layout, (candidate, current), nodes,
        round=int(str(config["round"])), timeout=experiment.server.deadline or _REPLY_SECONDS,
    )  # fmt: skip
    absent = {name: ABSENT for name in names if name not in nodes}
    side.finish(to_json(Comparison(names, found.candidate, found.current, {**found.dropped, **absent})))


def _there(grid: Grid, federation: FederationFolder, names: list[str]) -> dict[str, int]:
    """The nodes of those devices that connect in time."""
    until = time.monotonic() + _WAIT_SECONDS
    while True:
        joined = {name: each.node_id for name, each in load_members(federation).devices.items()}
        online = set(grid.get_node_ids())
        there = {name: joined[name] for name in sorted(names) if joined.get(name) in online}
        if len(there) == len(names) or time.monotonic() > until:
            return there
        time.sleep(0.5)
