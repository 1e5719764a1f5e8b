"""The ServerApp of a federation that `hedgerow up` keeps: the run in a folder, with those who have joined.

Nodes are told the run as a description, and nothing else of it: a recipe that
needs code of the server's on a device is refused before anything starts.
"""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from hedgerow.client.secure.register_file import load_register
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.coordinator.folder import FederationFolder
from hedgerow.coordinator.members import KnownKeys
from hedgerow.coordinator.register import FILE
from hedgerow.experiments.config.errors import CommandError
from hedgerow.experiments.config.recipe import load
from hedgerow.experiments.config.schema import Experiment
from hedgerow.experiments.device_recipe import one_experiment
from hedgerow.experiments.runs.pretraining import starting_model
from hedgerow.experiments.runs.run import run_experiment
from hedgerow.experiments.runs.simulate import start_of
from hedgerow.models import MODELS
from hedgerow.recipe.strategy import describe
from hedgerow.server.announced import run_id
from hedgerow.server.described import DescribedGrid, Description
from hedgerow.strategies.transforms.mask import model_hash
from hedgerow.types import RunOptions

APP = f"{__name__}:server_app"

server_app = ServerApp()


@server_app.main()
def main(grid: Grid, context: Context) -> None:
    """Carry out the run in the folder `run`, with the devices of the federation in `federation`."""
    folder = Path(str(context.run_config["run"]))
    federation = FederationFolder.open(Path(str(context.run_config["federation"])))
    experiment = one_experiment(str(folder), load(folder))
    known = KnownKeys(federation)

    def joined() -> Mapping[int, str]:
        return {device.node_id: name for name, device in known.refresh().devices.items()}

    masked = experiment.strategy().pipeline.only_sum
    options = RunOptions(register=load_register(federation.path / FILE) if masked else None, joined=joined)
    described = DescribedGrid(grid, description_of(experiment, folder))
    run_experiment(experiment, folder, grid=described, options=options)


def description_of(experiment: Experiment, folder: Path) -> Description:
    """What devices are told of the run in a folder.

    Raises:
        CommandError: devices cannot be told of it without code.
    """
    data, trainer = experiment.dataset(), TorchTrainer(experiment.task())
    start = start_of(trainer, starting_model(experiment) or experiment.initial, experiment.seed)
    layout, lora = trainer.layout, experiment.model.lora
    content = {
        "strategy": describable(experiment),
        "task": {
            "kind": data.task,
            "model": {
                "name": experiment.model.name,
                "arguments": {
                    "input_shape": list(data.input_shape),
                    "num_classes": data.num_outputs,
                    **experiment.model.options,
                },
            },
            "lora": None if lora is None else lora.model_dump(mode="json"),
        },
        "data": {
            "name": experiment.data.name,
            "input_shape": list(data.input_shape),
            "num_outputs": data.num_outputs,
            "held_out": experiment.data.held_out,
            "held_out_by": experiment.data.held_out_by,
        },
        "run": {"trainer": experiment.run.trainer, "precision": experiment.run.precision},
        "layout": layout.fingerprint,
        "seed": experiment.seed,
    }
    first = model_hash(start, layout, experiment.seed, 1).hex()
    return Description.of(content, run_id(folder), version("hedgerow"), first)


def describable(experiment: Experiment) -> dict[str, Any]:
    """The strategy as a description, where devices need no code for the run; raises `CommandError`."""
    if experiment.model.name not in MODELS.names():
        raise CommandError(
            f"model.name is {experiment.model.name!r}; in a federation it must be a registered one, since"
            f" devices take no code: {', '.join(MODELS.names())}, or one of a package that they have too"
        )
    try:
        return describe(experiment.strategy())
    except ValueError as error:
        raise CommandError(f"devices cannot be told of the strategy: {error}") from error
