"""The ServerApp of a federation that `hedgerow up` runs: a folder's run, on the devices that have joined.

Nodes get only a description of the run: a recipe that needs the server's code on a
device is refused before anything starts.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from hedgerow.coordinator.beats import SERVER_APP_BEATS, beat_file, beating
from hedgerow.coordinator.envelopes import EnvelopeGrid
from hedgerow.coordinator.fetching import FetchingGrid
from hedgerow.coordinator.folder import FederationFolder
from hedgerow.coordinator.graphs import GraphStore
from hedgerow.coordinator.mail import Mail
from hedgerow.coordinator.members import KnownKeys
from hedgerow.coordinator.register import Identities
from hedgerow.coordinator.ringing import RingingGrid
from hedgerow.coordinator.superlink import let_messages_be_answered_early, look_often_for_replies
from hedgerow.experiments.config.device_recipe import one_experiment
from hedgerow.experiments.config.errors import CommandError
from hedgerow.experiments.config.recipe import load
from hedgerow.experiments.config.schema import Experiment
from hedgerow.experiments.runs.graphs import offer_of
from hedgerow.experiments.runs.run import run_experiment
from hedgerow.experiments.runs.store import RunFolder
from hedgerow.experiments.runs.traced import traced
from hedgerow.files import write_whole
from hedgerow.models import MODELS
from hedgerow.node.described_trainer import BY_GRAPHS
from hedgerow.recipe.strategy import describe
from hedgerow.types import RunOptions

SERVER_APP = f"{__name__}:server_app"
CLIENT_APP = "hedgerow.experiments.flower_app.recipe_app:client_app"
"""The ClientApp for Flower's own nodes; only a name, because it does not run here."""

FILE = "coordinated.json"

server_app = ServerApp()


@server_app.main()
def main(grid: Grid, context: Context) -> None:
    """Carry out the run in the folder `run`, with the devices of the federation in `federation`."""
    folder = Path(str(context.run_config["run"]))
    federation = FederationFolder.open(Path(str(context.run_config["federation"])))
    experiment = one_experiment(str(folder), load(folder))
    known = KnownKeys(federation)
    look_often_for_replies(experiment.server.deadline)
    let_messages_be_answered_early()

    def joined() -> Mapping[int, str]:
        return {device.node_id: name for name, device in known.refresh().devices.items()}

    masked = experiment.strategy().pipeline.sum_only
    options = RunOptions(register=Identities(federation) if masked else None, joined=joined)
    with beating(beat_file(federation, SERVER_APP_BEATS)), traced(RunFolder(folder)) as after:
        mail = Mail(federation)
        mail.clear()
        reached: Grid = RingingGrid(EnvelopeGrid(grid, mail.put), federation)
        if (offer := offer_of(folder)) is not None:
            reached = FetchingGrid(reached, GraphStore(federation), folder, offer.hash)
        run_experiment(experiment, folder, after, grid=reached, options=options)


def remember(run: Path, federation: FederationFolder) -> None:
    """Record in a run's folder which federation's devices it uses; raises `OSError`."""
    write_whole(run / FILE, json.dumps({"federation": str(federation.path)}).encode())


def federation_of(run: Path) -> FederationFolder | None:
    """The federation whose devices a run used; `None` if it used none.

    Raises:
        FederationError: it is no longer where it was.
    """
    file = run / FILE
    return FederationFolder.open(Path(json.loads(file.read_bytes())["federation"])) if file.exists() else None


def check_describable(experiment: Experiment, *, graphs: bool = False) -> None:
    """Raise `CommandError` if devices would need code for the run, or graphs and there are none."""
    if experiment.run.trainer == BY_GRAPHS and not graphs:
        raise CommandError(
            f"run.trainer is {BY_GRAPHS!r}, by which devices train with graphs alone; give --graphs FOLDER,"
            " which 'hedgerow export' writes"
        )
    if experiment.model.name not in MODELS.names():
        raise CommandError(
            f"model.name is {experiment.model.name!r}; in a federation it must be a registered one, since"
            f" devices accept no code: {', '.join(MODELS.names())}, or one from a package that they also have"
        )
    try:
        describe(experiment.strategy())
    except ValueError as error:
        raise CommandError(f"the strategy cannot be described to devices: {error}") from error
