"""A search that learns from its results, by Optuna (Akiba et al. 2019, arXiv:1907.10902).

Each combination of the sweep's lists has a study of its own, in `optuna.log` in the sweep's folder, which
Optuna's own tools read too. The first draws are those of a random search; then Optuna's TPE proposes some
at a time, each from the results of all batches before and from a seed of its own. So what is proposed
depends neither on how many runs go on side by side nor on where the sweep was killed.
"""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from hedgerow.experiments.config.errors import ConfigError, Mistake
from hedgerow.experiments.config.expand import STARTUP, Cell, Space, Sweep
from hedgerow.experiments.config.names import words
from hedgerow.experiments.config.ranges import Range, draw
from hedgerow.experiments.config.search import SearchConfig
from hedgerow.experiments.runs.costs import BY_NAME
from hedgerow.experiments.runs.recorded import Run, read_run
from hedgerow.experiments.runs.task import Task
from hedgerow.extras import require
from hedgerow.rng import integer_seed

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

FILE = "optuna.log"
_NUMBER = "draw"  # of a trial, in what it keeps for us

Direction: TypeAlias = Literal["minimize", "maximize"]

_QUALITIES: Mapping[str, Direction] = {"accuracy": "maximize", "loss": "minimize"}


def proposals(sweep: Sweep, folder: Path) -> Iterator[list[Task]]:
    """The runs of each batch of draws, for all combinations of the lists side by side.

    Raises:
        ModuleNotFoundError: Optuna is not installed.
        ConfigError: runs have ended without recording an objective.
    """
    require("optuna")
    assert sweep.search is not None
    assert sweep.space is not None
    searches = [_Search(sweep.space, way, sweep.search, folder) for way in sweep.space.ways]
    for first in range(0, sweep.search.draws, sweep.search.batch):
        numbers = range(first, min(first + sweep.search.batch, sweep.search.draws))
        for search in searches:
            search.propose(numbers)
        yield [task for search in searches for task in search.tasks(numbers)]
        for search in searches:
            search.tell(numbers)


class _Search:
    """The study of one combination of the sweep's lists."""

    def __init__(self, space: Space, way: dict[str, Any], config: SearchConfig, folder: Path) -> None:
        self._space, self._way, self._config, self._folder = space, way, config, folder
        # With other objectives a search begins anew; what has run by then is not run again.
        named = f"{_name(way)} by {', '.join(config.objectives)}"
        self._study = _study(folder / FILE, named, _directions(config.objectives))

    def propose(self, numbers: Sequence[int]) -> None:
        """Decide on these draws; those that were decided on before a sweep was killed stay."""
        from optuna.trial import TrialState, create_trial

        there = self._trials()
        before = [there[number] for number in sorted(there) if number < numbers[0]]
        for number in numbers:
            if number not in there:
                ranges = self._space.ranges
                values = draw(ranges, number, self._config.seed)
                if number >= STARTUP:
                    values = self._asked(before, number)
                # One write of the whole trial: a kill leaves all of it or nothing.
                trial = create_trial(
                    state=TrialState.RUNNING, params=values, user_attrs={_NUMBER: number},
                    distributions={key: _distribution(values) for key, values in ranges.items()},
                )  # fmt: skip
                self._study.add_trial(trial)

    def tasks(self, numbers: Sequence[int]) -> list[Task]:
        """The runs of these draws, one for each seed."""
        there = self._trials()
        return [Task(cell) for cell in self._cells([there[number] for number in numbers])]

    def tell(self, numbers: Sequence[int]) -> None:
        """Tell Optuna what the runs of these draws came to; a draw of which a run failed has failed."""
        from optuna.trial import TrialState

        there = self._trials()
        for number in numbers:
            trial = there[number]
            if not trial.state.is_finished():
                runs = [read_run(self._folder / cell.folder) for cell in self._cells([trial])]
                values = results(runs, self._config.objectives)
                if values is None and all(run.finished for run in runs):
                    raise _unmeasured(runs, self._config.objectives)
                state = TrialState.FAIL if values is None else TrialState.COMPLETE
                self._study.tell(trial.number, values, state=state)

    def _asked(self, before: "Sequence[FrozenTrial]", number: int) -> dict[str, Any]:
        """What Optuna proposes from the trials of earlier batches alone."""
        import optuna

        seed = integer_seed(self._config.seed, f"sweep optuna {_name(self._way)}", round=number) % 2**32
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP)
        study = optuna.create_study(directions=self._study.directions, sampler=sampler)
        study.add_trials([trial for trial in before if trial.state.is_finished()])
        ranges = self._space.ranges
        asked = study.ask({key: _distribution(values) for key, values in ranges.items()})
        return {key: ranges[key].rounded(value) for key, value in asked.params.items()}

    def _cells(self, trials: "Sequence[FrozenTrial]") -> list[Cell]:
        drawn = [{key: trial.params[key] for key in self._space.ranges} for trial in trials]
        return self._space.cells(drawn, [self._way])

    def _trials(self) -> "dict[int, FrozenTrial]":
        return {trial.user_attrs[_NUMBER]: trial for trial in self._study.get_trials(deepcopy=False)}


def results(runs: Sequence[Run], objectives: Sequence[str]) -> list[float] | None:
    """Each objective's mean over the seeds; `None` if a run has not ended, or has not measured it.

    >>> from pathlib import Path
    >>> lines = ({"round": 1, "bytes_up": 5, "evaluation": {"accuracy": 0.5}},)
    >>> results([Run(Path(), {}, lines, finished=True)], ["accuracy", "bytes_up"])
    [0.5, 5.0]
    """
    if not all(run.finished for run in runs):
        return None
    found = [[_result(name)(run) for run in runs] for name in objectives]
    known = [[value for value in values if value is not None] for values in found]
    if any(len(values) < len(runs) for values in known):
        return None
    return [statistics.fmean(values) for values in known]


def _unmeasured(runs: Sequence[Run], objectives: Sequence[str]) -> ConfigError:
    """A search could learn nothing from runs that have ended without one of its objectives."""
    lacking = next(name for name in objectives if any(_result(name)(run) is None for run in runs))
    problem = (
        f"these runs record no {lacking}; leave it out, or make them record it: seconds, joules and price"
        " need [clock], epsilon a private strategy, accuracy classes"
    )
    return ConfigError([Mistake("search.objectives", problem, list(objectives))])


def _result(name: str) -> Callable[[Run], float | None]:
    if name in BY_NAME:
        return BY_NAME[name].total
    return lambda run: next(
        (float(value) for line in reversed(run.lines)
         if (value := line.get("evaluation", {}).get(name)) is not None), None,
    )  # fmt: skip


def _directions(names: Sequence[str]) -> list[Direction]:
    return [_QUALITIES.get(name, "minimize") for name in names]


def _name(way: Mapping[str, Any]) -> str:
    return ", ".join(words(key, value) for key, value in way.items()) or "all"


def _study(file: Path, name: str, directions: list[Direction]) -> "Study":
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # The sweep's folder is held: a lock that is there was left by a process that was killed.
    for left in file.parent.glob(f"{file.name}.lock*"):
        left.unlink()
    _cut_torn_line(file)
    return optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(file))), study_name=name,
        directions=directions, load_if_exists=True,
    )  # fmt: skip


def _cut_torn_line(file: Path) -> None:
    """Remove a last line that a kill left unfinished, which Optuna would append to."""
    if not file.is_file():
        return
    content = file.read_bytes()
    if not content.endswith(b"\n"):
        with file.open("r+b") as stream:
            stream.truncate(content.rfind(b"\n") + 1)


def _distribution(values: Range) -> "BaseDistribution":
    from optuna import distributions

    if values.values:
        return distributions.CategoricalDistribution(values.values)
    if values.whole:
        return distributions.IntDistribution(int(values.low), int(values.high), log=values.log)
    return distributions.FloatDistribution(float(values.low), float(values.high), log=values.log)
