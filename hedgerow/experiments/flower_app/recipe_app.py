"""Any recipe as a Flower app: the same experiment in a real federation, or on Flower's own engine.

The run config says which: `recipe` (a name), `overrides` (as on the command
line, separated by spaces), `out` (the run's folder, on the server) and
`register` (a file of the clients' identity keys, on the server, for masks).

    flwr run . --run-config 'recipe="heart" out="runs/heart"'

The run config comes from whoever starts the run. What a device does with it is up
to the device's policy and its own configuration: see `hedgerow.client.policy`.
"""

import shlex
import sys
from functools import cache
from pathlib import Path
from typing import final

from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from hedgerow.client import app as client
from hedgerow.client.discretion import discreet
from hedgerow.client.guard import Guard, node_guard
from hedgerow.client.secure.register_file import load_register
from hedgerow.client.trainer import Trainer
from hedgerow.experiments.config.device_recipe import DeviceRun, device_run, one_experiment
from hedgerow.experiments.config.recipe import load
from hedgerow.experiments.config.schema import Experiment
from hedgerow.experiments.runs.run import run_experiment
from hedgerow.experiments.runs.simulate import learner_of
from hedgerow.simulation.devices.base import step_times_of
from hedgerow.types import RunOptions

server_app = ServerApp()


@server_app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the experiment that the run config names, on the clients that are connected."""
    experiment = _experiment(*_asked(context))
    folder = Path(str(context.run_config.get("out") or Path("runs") / experiment.name))
    file = str(context.run_config.get("register") or "")
    options = RunOptions(register=load_register(Path(file)) if file else None)
    run_experiment(experiment, folder, grid=grid, options=options)


@final
class RecipeClient(ClientApp):
    """The client at a node, in the run that the run config names."""

    def __call__(self, message: Message, context: Context) -> Message:
        """Answer one message of any kind, if the device's policy allows it."""
        if _simulated():
            return _simulated_client(*_asked(context))(message, context)
        with discreet():
            name, guard = str(context.node_config.get("client-name", "")), node_guard(context.node_config)
            asked = *_asked(context), guard, name
            # Before any data is loaded or any model built.
            guard.policy.check(message.metadata.message_type, _device_run(*asked).experiment.strategy())
            device = _device_client(*asked)
        return device(message, context)


client_app = RecipeClient()


def _simulated() -> bool:
    """Whether Flower's simulation engine has started this process, a Ray worker, rather than a node."""
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def _asked(context: Context) -> tuple[str, str]:
    recipe = context.run_config.get("recipe")
    if not recipe:
        raise ValueError(
            "the run config names no recipe; add --run-config 'recipe=\"heart\"' (see: hedgerow list recipes)"
        )
    return str(recipe), str(context.run_config.get("overrides") or "")


@cache
def _experiment(recipe: str, overrides: str) -> Experiment:
    return one_experiment(recipe, load(recipe, shlex.split(overrides)))


@cache
def _simulated_client(recipe: str, overrides: str) -> ClientApp:
    experiment = _experiment(recipe, overrides)
    strategy = experiment.strategy()
    return client.client_app(
        _learner(experiment), experiment.federation, strategy, guard=None,
        step_times=step_times_of(experiment.described_devices(), strategy),
    )  # fmt: skip


@cache
def _device_run(recipe: str, overrides: str, guard: Guard, name: str) -> DeviceRun:
    return device_run(recipe, shlex.split(overrides), guard, name)


@cache
def _device_client(recipe: str, overrides: str, guard: Guard, name: str) -> ClientApp:
    run = _device_run(recipe, overrides, guard, name)
    return client.client_app(_learner(run.experiment), run.data, run.experiment.strategy())


def _learner(experiment: Experiment) -> Trainer:
    """The trainer that `[run]` names; raises an error if this device does not have it."""
    return learner_of(experiment.task(), experiment.options(RunOptions(workers=1)))
