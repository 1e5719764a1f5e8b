"""Run folders, sorted into groups of runs that differ only in their seed."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hedgerow.experiments.config.arguments import flatten
from hedgerow.experiments.config.errors import ConfigError, StoreError, show
from hedgerow.experiments.runs.recorded import Run, read_run

_NOT_SETTINGS = ("name", "label", "seed")
_NO_MATTER = ("record", "workers")
"""Keys of `[run]` that affect no result."""

_MOST_DIFFERENCES = 3


@dataclass(frozen=True)
class Group:
    """Runs with equal settings and the same number of rounds done, one for each seed.

    Attributes:
        label: how it differs from the other groups.
        runs: sorted by seed; never empty.
        repeated: folders left out, because `runs` already has a run with the same
            settings and seed.
    """

    label: str
    runs: tuple[Run, ...]
    repeated: tuple[Path, ...] = ()

    @property
    def first(self) -> Run:
        """One of the runs, for everything that they share."""
        return self.runs[0]

    @property
    def finished(self) -> bool:
        """Whether its runs have done all their rounds; the same for all of them."""
        return self.first.finished

    @property
    def ended(self) -> str:
        """How its runs ended before that, `"failed"` or `"stopped"`; empty if they did not."""
        return self.first.ended[0]

    @property
    def settings(self) -> dict[str, Any]:
        """Dotted key -> value, without name, label and seed."""
        return flatten(_settings(self.first))

    @property
    def target(self) -> float | None:
        """The accuracy to reach, from the configuration."""
        value = self.settings.get("evaluation.target_accuracy")
        return None if value is None else float(value)

    @property
    def in_a_row(self) -> int:
        """Evaluations in a row at or above the target with which it counts as reached."""
        return int(self.settings.get("evaluation.target_in_a_row", 1))


def find_runs(folders: Sequence[Path]) -> list[Path]:
    """Run folders among and below the folders given, each once.

    Those below a folder come in the order of the sweep, or by name, where `2`
    comes before `10`.

    Raises:
        StoreError: a folder is missing, or holds no run.
    """
    found: dict[Path, Path] = {}
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise StoreError(
                f"{folder} is not a folder; give one that 'hedgerow run' or 'hedgerow sweep' made"
            )
        runs = _below(folder)
        if not runs:
            raise StoreError(
                f"{folder} holds no run: there is no config.toml in it or below it; give a folder that"
                " 'hedgerow run' or 'hedgerow sweep' made"
            )
        for run in runs:
            found.setdefault(run.resolve(), run)
    return list(found.values())


def load_groups(folders: Sequence[Path]) -> list[Group]:
    """Read runs and sort them into groups, in the order in which they are found.

    Runs that have done fewer rounds than others, or have not finished, or failed, form their
    own group, so that no mean is taken over unequal runs.

    Raises:
        StoreError: a folder is missing, holds no run, or cannot be read.
    """
    groups: dict[str, Group] = {}
    for folder in find_runs(folders):
        run = read_run(folder)
        key = json.dumps([_settings(run), run.finished, run.done, run.ended[0]], sort_keys=True, default=str)
        group = groups.get(key)
        if group is None:
            groups[key] = Group("", (run,))
        elif run.seed in [r.seed for r in group.runs]:
            groups[key] = replace(group, repeated=(*group.repeated, folder))
        else:
            groups[key] = replace(group, runs=tuple(sorted((*group.runs, run), key=lambda r: r.seed)))
    found = list(groups.values())
    return [replace(g, label=label) for g, label in zip(found, _labels(found), strict=True)]


def differing(groups: Sequence[Group]) -> list[str]:
    """Dotted keys of the settings in which the groups differ."""
    settings = [g.settings for g in groups]
    keys = dict.fromkeys(key for each in settings for key in each)
    return [key for key in keys if any(each.get(key) != settings[0].get(key) for each in settings)]


def _settings(run: Run) -> dict[str, Any]:
    settings = {key: value for key, value in run.config.items() if key not in _NOT_SETTINGS}
    executed = settings.get("run", {})
    return settings | {"run": {key: value for key, value in executed.items() if key not in _NO_MATTER}}


def _below(folder: Path) -> list[Path]:
    if (folder / "config.toml").is_file():
        return [folder]
    order = _sweep_order(folder)
    children = sorted((p for p in folder.iterdir() if p.is_dir()), key=_natural)
    children.sort(key=lambda child: order.get(child.name, len(order)))
    return [run for child in children for run in _below(child)]


def _sweep_order(folder: Path) -> dict[str, int]:
    """Position of each run's folder in a sweep, in the order of the lists in its file."""
    if not (folder / "sweep.toml").is_file():
        return {}
    from hedgerow.experiments.config.expand import Sweep
    from hedgerow.experiments.config.recipe import load

    try:
        sweep = load(folder)
    except ConfigError:  # a plug-in for one of its parts is gone; the runs can still be read
        return {}
    return {cell.folder: place for place, cell in enumerate(sweep.cells)} if isinstance(sweep, Sweep) else {}


def _natural(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", path.name)]


def _labels(groups: Sequence[Group]) -> list[str]:
    """The runs' own labels or names if these distinguish the groups, else what differs."""
    alone = len({json.dumps(g.settings, sort_keys=True, default=str) for g in groups})
    keys = differing(groups)
    by_label, by_name = ([str(g.first.config.get(key, "")) for g in groups] for key in ("label", "name"))
    if len(set(by_label) - {""}) == alone and all(by_label):
        labels = by_label
    elif not keys or (len(keys) > _MOST_DIFFERENCES and len(set(by_name)) == alone):
        labels = [name or g.first.folder.name for name, g in zip(by_name, groups, strict=True)]
    else:
        labels = [
            ", ".join(_shown(k, g.settings[k]) for k in keys if k in g.settings) or "default" for g in groups
        ]
    return [
        label
        if group.finished
        else f"{label} ({group.ended or 'unfinished'}: {group.first.done} of {group.first.planned} rounds)"
        for label, group in zip(labels, groups, strict=True)
    ]


def _shown(key: str, value: Any) -> str:
    """A setting for a label: a text alone, anything else with its key."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(v, str) for v in value):
        return " + ".join(value)
    return f"{key.rpartition('.')[2]}={show(value)}"
