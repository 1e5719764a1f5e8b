"""Any recipe as a Flower app: the same experiment in a real federation, or on Flower's own engine.

The run config says which: `recipe` (a name or a file), `overrides` (as on the
command line, separated by spaces), `out` (the run's folder, on the server) and
`register` (a file of the clients' identity keys, on the server, for masks).

    flwr run . --run-config 'recipe="heart" out="runs/heart"'
"""

import shlex
from functools import cache
from pathlib import Path

from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from hedgerow.client import app as client
from hedgerow.client.secure.register_file import load_register
from hedgerow.client.secure.stages import STAGES
from hedgerow.experiments.config.recipe import load_sweep
from hedgerow.experiments.config.schema import Experiment
from hedgerow.experiments.runs.run import run_experiment

server_app = ServerApp()
client_app = ClientApp()


@server_app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the experiment that the run config names, on the clients that are connected."""
    experiment = _experiment(*_asked(context))
    folder = Path(str(context.run_config.get("out") or Path("runs") / experiment.name))
    file = str(context.run_config.get("register") or "")
    run_experiment(experiment, folder, grid=grid, register=load_register(Path(file)) if file else None)


@client_app.train()
def train(message: Message, context: Context) -> Message:
    """Train as the client that this node is."""
    return _client(*_asked(context))(message, context)


@client_app.query()
def query(message: Message, context: Context) -> Message:
    """Say which client this node is."""
    return _client(*_asked(context))(message, context)


for stage in STAGES:  # of a secure aggregation
    client_app.train(stage)(train)


def _asked(context: Context) -> tuple[str, str]:
    recipe = context.run_config.get("recipe")
    if not recipe:
        raise ValueError(
            "the run config names no recipe; add --run-config 'recipe=\"heart\"' (see: hedgerow list recipes)"
        )
    return str(recipe), str(context.run_config.get("overrides") or "")


@cache
def _experiment(recipe: str, overrides: str) -> Experiment:
    cells = load_sweep(recipe, shlex.split(overrides)).cells
    if len(cells) > 1:
        raise ValueError(
            f"{recipe!r} describes {len(cells)} experiments and a federation runs one;"
            " choose with overrides, such as 'seed=0 strategy.mu=0.1'"
        )
    return cells[0].experiment


@cache
def _client(recipe: str, overrides: str) -> ClientApp:
    experiment = _experiment(recipe, overrides)
    return client.client_app(experiment.task(), experiment.federation, experiment.strategy())
