"""The available parts, and what a data set looks like when it is split among clients."""

import json as json_format
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.style import Style
from rich.table import Table
from rich.text import Text

from hedgerow.experiments.cli.terminal import describe, say
from hedgerow.experiments.config.errors import ConfigError
from hedgerow.experiments.config.recipe import load_table, recipe_summary, recipes
from hedgerow.experiments.config.schema import Experiment
from hedgerow.registry import Registry

if TYPE_CHECKING:
    from hedgerow.datasets import Federation

# From few to many samples: distinguishable with and without colour.
_SHADES = ((" ", ""), ("░", "#3b528b"), ("▒", "#21918c"), ("▓", "#5ec962"), ("█", "#fde725"))


def print_list(kinds: Sequence[str], json: bool) -> None:
    """Print names and one-line summaries of each kind."""
    found = {str(kind): _summaries(kind) for kind in kinds}
    if json:
        sys.stdout.write(json_format.dumps(found, indent=2) + "\n")
        return
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for kind, summaries in found.items():
        table.add_row(Text(kind, style="bold"), "")
        for name, summary in summaries.items():
            table.add_row(Text(f"  {name}"), Text(summary))
    Console(highlight=False).print(table)


def print_data(
    name: str, options: Sequence[str], partition: str | None, clients: int | None, seed: int, json: bool
) -> None:
    """Print a data set's properties and how its clients share it."""
    experiment = _experiment(name, options, partition, clients, seed)
    federation = experiment.federation()
    if json:
        sys.stdout.write(json_format.dumps(_facts(experiment, federation, seed), indent=2) + "\n")
        return
    dataset = federation.dataset
    shape = " x ".join(map(str, dataset.input_shape))
    y = dataset.train.y
    what = f"{dataset.num_classes} classes" if dataset.classes else f"targets from {y.min():g} to {y.max():g}"
    say(f"{dataset.name}: {len(dataset.train):,} training and {len(dataset.test):,} test samples of {shape},"
        f" {what}")  # fmt: skip
    for key, text in (("source", dataset.source), ("licence", dataset.licence), ("note", dataset.note)):
        if text:
            say(f"  {key}: {text}")
    sizes = federation.sizes()
    say(f"{len(federation):,} clients, {_words(experiment)}; samples a client:"
        f" {sizes.min():,} to {sizes.max():,}, median {np.median(sizes):,.0f}")  # fmt: skip
    console = Console(highlight=False)
    console.print(heat_map(federation.counts(), dataset.strata()[0], console.width))


def heat_map(counts: Any, classes: Sequence[str], width: int = 80, rows: int = 30) -> Text:
    """Which client holds which class: a line for each class, a column for each client.

    The shade shows the number of samples on a square-root scale, so that a few look
    different from none. If clients do not fit, an even selection is shown; of more
    than `rows` classes, the largest.

    Args:
        counts: `(clients, classes)` samples.
        classes: their names.
        width: columns of the terminal.
        rows: most lines.
    """
    names = [name if name.isprintable() and name.strip() else repr(name) for name in classes]
    largest = np.sort(np.argsort(-counts.sum(0), kind="stable")[:rows])
    margin = min(20, max(cell_len(names[c]) for c in largest)) + 2
    shown = np.unique(
        np.linspace(0, len(counts) - 1, max(1, min(len(counts), width - margin - 1))).astype(int)
    )
    part = counts[np.ix_(shown, largest)]
    level = np.ceil(np.sqrt(part / max(1, part.max())) * (len(_SHADES) - 1)).astype(int)
    text = Text(no_wrap=True, overflow="crop")
    for place, label in enumerate(largest):
        name = set_cell_size(names[label], min(20, cell_len(names[label])))
        text.append(" " * (margin - 2 - cell_len(name)) + name + "  ")
        for shade in level[:, place]:
            character, colour = _SHADES[shade]
            text.append(character, Style(color=colour) if colour else None)
        text.append("\n")
    bounds = [int((k / (len(_SHADES) - 1)) ** 2 * part.max() + 1e-9) for k in range(len(_SHADES))]
    ranges = zip(_SHADES[1:], bounds[:-1], bounds[1:], strict=True)
    scale = "  ".join(f"{shade[0]} {low + 1}-{high}" for shade, low, high in ranges if high > low)
    left_out = [f"{len(shown)} of {len(counts):,} clients"] if len(shown) < len(counts) else []
    left_out += [f"{len(largest)} of {len(classes)} classes"] if len(largest) < len(classes) else []
    text.append(" " * margin + "; ".join([f"samples: {scale}", *left_out]), Style(dim=True))
    return text


def _summaries(kind: str) -> dict[str, str]:
    if kind == "recipes":
        return {name: recipe_summary(name) for name in recipes()}
    registry = _registry(kind)
    return {name: _summary(registry, name) for name in registry.names()}


def _registry(kind: str) -> Registry:
    from hedgerow.client.trainers import TRAINERS
    from hedgerow.datasets import DATASETS, PARTITIONS
    from hedgerow.models import MODELS
    from hedgerow.simulation.attacks.registry import ATTACKS
    from hedgerow.simulation.devices.registry import DEVICES
    from hedgerow.strategies.aggregates.registry import AGGREGATES
    from hedgerow.strategies.personal import PERSONAL
    from hedgerow.strategies.pipeline.parse import TRANSFORMS
    from hedgerow.strategies.presets import PRESETS

    return {
        "datasets": DATASETS, "partitions": PARTITIONS, "models": MODELS, "strategies": PRESETS,
        "trainers": TRAINERS, "transforms": TRANSFORMS, "aggregates": AGGREGATES, "personal": PERSONAL,
        "attacks": ATTACKS, "devices": DEVICES,
    }[kind]  # fmt: skip


def _summary(registry: Registry, name: str) -> str:
    try:
        return registry.summary(name)
    except ImportError as error:  # a part that needs an extra is listed anyway
        return describe(error)


def _experiment(
    name: str, options: Sequence[str], partition: str | None, clients: int | None, seed: int
) -> Experiment:
    """An experiment with this data, by default split by owner, or else evenly among 10 clients."""

    def described(chosen: str, count: int | None) -> Experiment:
        overrides = [f"data.{option}" for option in options] + [f"data.partition.name={chosen}"]
        overrides += [] if count is None else [f"data.partition.clients={count}"]
        # A complete configuration needs a model and rounds; neither is used.
        table = {
            "name": "data",
            "seed": seed,
            "rounds": 1,
            "data": {"name": name},
            "model": {"name": "logistic"},
        }
        return load_table(table, overrides, "the command")

    if partition is not None:
        default = 10 if clients is None and partition != "natural" else clients
        given = any(option.startswith("partition.clients=") for option in options)
        return described(partition, None if given else default)
    try:
        owned = described("natural", clients)
    except ConfigError:
        return described("iid", clients or 10)
    return owned if owned.dataset().natural is not None else described("iid", clients or 10)


def _words(experiment: Experiment) -> str:
    partition = experiment.data.partition
    options = ", ".join(f"{k}={v}" for k, v in partition.options.items() if k != "clients")
    return f"{partition.name}({options})" if options else partition.name


def _facts(experiment: Experiment, federation: "Federation", seed: int) -> dict[str, Any]:
    dataset, sizes = federation.dataset, federation.sizes()
    return {
        "name": dataset.name,
        "train": len(dataset.train),
        "test": len(dataset.test),
        "input_shape": list(dataset.input_shape),
        "task": dataset.task,
        "classes": list(dataset.classes),
        "source": dataset.source,
        "licence": dataset.licence,
        "note": dataset.note,
        "partition": {
            "name": experiment.data.partition.name,
            **experiment.data.partition.options,
            "seed": seed,
        },
        "clients": len(federation),
        "size": {"min": int(sizes.min()), "median": float(np.median(sizes)), "max": int(sizes.max())},
        "counts": dict(zip(federation.names, federation.counts().tolist(), strict=True)),
    }
