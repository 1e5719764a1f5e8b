"""A recipe on Flower's own Ray engine: `python -m tests.engines.ray.recipe_on_ray CLIENTS RUN_CONFIG.json`.

`flwr run` takes the run config from the app's bundle. There is none here, so
it is put into the contexts, and the apps run as they are.
"""

import json
import sys
from pathlib import Path

from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.simulation.run_simulation import _run_simulation
from flwr.supercore.telemetry import EventType

from hedgerow.experiments.flower_app import recipe_app

# Collecting doctests imports this module too; only as a program it has arguments.
CONFIG = json.loads(Path(sys.argv[2]).read_text()) if __name__ == "__main__" else {}
server_app = ServerApp()
client_app = ClientApp()


def configured(context: Context) -> Context:
    return Context(context.run_id, context.node_id, context.node_config, context.state, CONFIG)


@server_app.main()
def main(grid: Grid, context: Context) -> None:
    recipe_app.server_app(grid, configured(context))


@client_app.train()
@client_app.evaluate()
@client_app.query()
def client(message: Message, context: Context) -> Message:
    return recipe_app.client_app(message, configured(context))


if __name__ == "__main__":
    _run_simulation(
        num_supernodes=int(sys.argv[1]),
        client_app=client_app,
        server_app=server_app,
        backend_config={"client_resources": {"num_cpus": 1}, "init_args": {"num_cpus": 2}},
        exit_event=EventType.FLWR_SIMULATION_RUN_LEAVE,
    )
