"""A model of a run as a file for others: safetensors, or a `torch.export` program."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.numpy import load, save

import hedgerow
from hedgerow.experiments.config.errors import CommandError
from hedgerow.experiments.runs.announce import announcement_of
from hedgerow.experiments.runs.evaluate import begun_experiment
from hedgerow.experiments.runs.promote import LAST, chosen, shelf_of
from hedgerow.experiments.runs.simulate import measuring_trainer
from hedgerow.files import write_whole
from hedgerow.node.described_trainer import evaluating_trainer
from hedgerow.promotion.shelf import Shelf
from hedgerow.promotion.tensors import model_of
from hedgerow.recipe.announcement import understand

ENDINGS = (".safetensors", ".pt2")
PROMOTED = "promoted"


@dataclass(frozen=True)
class Ready:
    """A model that can be used.

    Attributes:
        content: as safetensors.
        description: of the run, canonical JSON.
        about: its lineage, as JSON values.
        name: for people to read.
    """

    content: bytes
    description: str
    about: Mapping[str, Any]
    name: str


def ready_model(run: Path, which: str = "") -> Ready:
    """A model of a run: the promoted one, or that of a round if none is promoted or another is requested.

    Args:
        run: the run's folder, or that of a federation.
        which: `"promoted"`, `"last"`, `"best"` or the number of a round; empty for the promoted one,
            or the last if there is none.

    Raises:
        StoreError, CandidateError, ShelfError, FederationError: there is none, or it cannot be read.
    """
    federation = (run / "federation.json").is_file()
    shelf = Shelf(run) if federation else shelf_of(run)[0]
    current = shelf.current()
    if current is not None and which in ("", PROMOTED):
        about = {**current.to_json(), "description": json.loads(current.description)}
        name = f"the promoted model {current.model[:12]}, round {current.lineage.round}"
        return Ready(shelf.content(current), current.description, about, name)
    if federation or which == PROMOTED:
        raise CommandError(f"{run} has no promoted model; promote one with: hedgerow promote RUN")
    taken = chosen(run, which or LAST)
    experiment = begun_experiment(run)
    described = announcement_of(experiment, measuring_trainer(experiment).layout, "").description
    about = {
        "recipe": experiment.name, "round": taken.round, "hedgerow": hedgerow.__version__,
        "description": json.loads(described),
    }  # fmt: skip
    return Ready(taken.content, described, about, f"the model of round {taken.round}, not promoted")


def write_model(run: Path, file: Path, which: str = "") -> Ready:
    """Write a model of a run with its lineage, in the format given by the file's ending.

    Raises:
        CommandError: the ending is neither `.safetensors` nor `.pt2`.
        ValueError: there is no such model, or torch cannot export it.
    """
    if file.suffix not in ENDINGS:
        raise CommandError(f"the file is {str(file)!r}; its name must end in {' or '.join(ENDINGS)}")
    ready = ready_model(run, which)
    about = json.dumps(ready.about)
    if file.suffix == ".safetensors":
        write_whole(file, save(load(ready.content), {"hedgerow.lineage": about}))
        return ready
    from hedgerow.client.torch.exported import exported

    described = understand(ready.description)
    trainer = evaluating_trainer(described)
    task = getattr(trainer, "task", None)
    if task is None:
        raise CommandError(f"the model of {run} is not a torch model; write it to a .safetensors file")
    model = model_of(load(ready.content), trainer.layout)
    write_whole(file, exported(task.model, model, described.input_shape, {"hedgerow.lineage.json": about}))
    return ready
