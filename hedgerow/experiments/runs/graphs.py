"""The graphs of a run, for devices that train without torch: checked, and remembered in its folder."""

import json
from pathlib import Path

from hedgerow.experiments.config.errors import CommandError
from hedgerow.experiments.config.schema import Experiment
from hedgerow.experiments.runs.simulate import measuring_trainer
from hedgerow.files import write_whole
from hedgerow.graphs.agreement import check_run
from hedgerow.graphs.bundle import Graphs
from hedgerow.graphs.errors import BadGraphs
from hedgerow.graphs.inspection import inspect
from hedgerow.graphs.offer import Offer, read_signed

FILE = "graphs.json"

_MOST = 2**40  # each device has a limit of its own


def checked_graphs(experiment: Experiment, folder: Path) -> tuple[Graphs, Offer, int]:
    """The graphs of a folder, who signed them, and the bytes that a run of one takes at most.

    Raises:
        CommandError: they cannot be read, a device would refuse them, or they are not the experiment's.
    """
    try:
        graphs, offer = read_signed(folder)
        needed = inspect(graphs, _MOST)
        layout = measuring_trainer(experiment).layout
        check_run(graphs, experiment.strategy(), experiment.facts().task, layout.fingerprint, experiment.seed)
    except BadGraphs as error:
        raise CommandError(f"{folder} has no graphs for this run: {error}; export them anew") from error
    except OSError as error:
        raise CommandError(
            f"{folder} has no graphs: {error}; write them with: hedgerow export RECIPE --out {folder}"
        ) from error
    return graphs, offer, needed


def remember_offer(run: Path, offer: Offer) -> None:
    """Record in a run's folder which graphs it offers; raises `OSError`."""
    write_whole(run / FILE, json.dumps(offer.to_json(), indent=1).encode())


def offer_of(run: Path) -> Offer | None:
    """The graphs that a run offers; `None` if it has none. Raises `ValueError` if that cannot be read."""
    file = run / FILE
    return Offer.from_json(json.loads(file.read_bytes())) if file.exists() else None
