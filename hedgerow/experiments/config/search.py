"""`[search]` and `[early_stopping]`: how a sweep draws its values, and when it gives up on some."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, ValidationError

from hedgerow import checks
from hedgerow.experiments.config.arguments import Table, as_json, translate
from hedgerow.experiments.config.errors import ConfigError, Mistake
from hedgerow.experiments.config.sections import Count, Section, Seed, checked

TABLES = ("search", "early_stopping")
"""Tables beside `[sweep]` that are about it, and no experiment's."""

SEARCHES = ("random", "optuna")

OBJECTIVES = ("accuracy", "loss", "bytes_up", "bytes", "seconds", "joules", "price", "epsilon")
"""The last measured accuracy and loss, and each kind of cost that a run may record."""


def _objectives(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names or len(set(names)) < len(names):
        raise ValueError("it must be a list of one or more names, no two of them equal")
    for name in names:
        checks.one_of(OBJECTIVES, value=name)
    return names


class SearchConfig(Section):
    """`[search]`: how many values are drawn from the ranges of `[sweep]`, and how.

    Attributes:
        name: `"random"`, or `"optuna"`, which draws near what was good before.
        draws: number of draws, for each combination of the lists; each is run with every seed.
        seed: of the draws; that of the runs is the experiment's own.
        objectives: what Optuna makes large (`"accuracy"`) or small (`"loss"` and costs).
        batch: draws that Optuna decides on at a time, and that run side by side.
    """

    name: Annotated[str, checked(checks.one_of, SEARCHES)] = "random"
    draws: Count
    seed: Seed = 0
    objectives: Annotated[tuple[str, ...], AfterValidator(_objectives)] = ("accuracy", "bytes_up")
    batch: Count = 4

    @property
    def adaptive(self) -> bool:
        """Whether later draws depend on the results of earlier ones."""
        return self.name == "optuna"


class EarlyStopping(Section):
    """`[early_stopping]`: ways that another one dominates are stopped.

    After each `every` rounds of all ways, one is stopped if another has had, for no more bytes up and no
    more bytes down, a higher accuracy by more than `margin` and a standard error of the difference over
    the seeds. The rule looks at rounds, and so does not depend on how fast anything ran.

    Attributes:
        every: rounds between two looks.
        margin: difference in accuracy that is not minded, from 0 to 1; with one seed, all that is known
            of the noise.
    """

    every: Count
    margin: Annotated[float, checked(checks.probability)] = 0.02


Found = TypeVar("Found", bound=Section)


def read_search(
    table: Table, axes: Mapping[str, Any], source: str = ""
) -> tuple[SearchConfig | None, EarlyStopping | None]:
    """Take the tables about a sweep out of a configuration, and check them.

    Raises:
        ConfigError: they are wrong, or there is no `[sweep]` for them.
    """
    given = {name: table.pop(name) for name in TABLES if name in table}
    mistakes: list[Mistake] = []
    search = _section("search", given, SearchConfig, mistakes)
    stopping = _section("early_stopping", given, EarlyStopping, mistakes)
    if given and not axes:
        problem = "it is about a sweep; give [sweep] with lists or ranges, such as seed = [0, 1]"
        mistakes = [Mistake(name, problem) for name in given]
    if stopping is not None and search is not None and search.adaptive:
        problem = "it must be left out with Optuna, whose later runs are not known when others are stopped"
        mistakes.append(Mistake("early_stopping", problem))
    if mistakes:
        raise ConfigError(mistakes, source)
    return search, stopping


def _section(name: str, given: Mapping[str, Any], kind: type[Found], mistakes: list[Mistake]) -> Found | None:
    if name not in given:
        return None
    try:
        return kind.model_validate_json(as_json(given[name]))
    except ValidationError as error:
        mistakes += translate(error, given[name], name, kind)
        return None
