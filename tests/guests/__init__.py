"""What another package would add to Hedgerow: one part of each kind, a file each.

`installed/` holds what `pip install` would leave of it: its entry points. A process that has that folder
on its path has the package.
"""

import os
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from hedgerow.client.trainers import TRAINERS
from hedgerow.datasets import DATASETS
from hedgerow.experiments.cli.plugins import COMMANDS
from hedgerow.strategies import AGGREGATES, PRESETS, TRANSFORMS
from hedgerow.strategies.personal import PERSONAL

ROOT = Path(__file__).parents[2]
INSTALLED = Path(__file__).parent / "installed"
REGISTRIES = (TRANSFORMS, AGGREGATES, PRESETS, TRAINERS, DATASETS, COMMANDS, PERSONAL)


def install(patch: pytest.MonkeyPatch) -> None:
    """Have the package in this process, and in those that it starts."""
    patch.syspath_prepend(INSTALLED)
    for registry in REGISTRIES:
        patch.setitem(registry.__dict__, "_plugins", tuple(entry_points(group=registry.group)))
    patch.setenv("PYTHONPATH", os.pathsep.join((str(ROOT), str(INSTALLED))))
