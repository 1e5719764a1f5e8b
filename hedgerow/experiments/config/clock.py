"""The checks of `[clock]`, and the clock that it describes."""

from hedgerow.experiments.config.arguments import Table, arguments, python_values, refused
from hedgerow.experiments.config.errors import Mistake
from hedgerow.experiments.config.parts import check_built, options_of
from hedgerow.experiments.config.sections import ClockConfig
from hedgerow.simulation.clock.availability import AVAILABILITIES
from hedgerow.simulation.clock.clock import Clock, clock

_INNER = ("availability",)


def clock_table(given: Table) -> tuple[Table, list[Mistake]]:
    """Fill in the defaults of `[clock]`, and find every mistake in it."""
    own = {key: value for key, value in given.items() if key not in _INNER}
    resolved, found = arguments(clock, own, "clock", inner=_INNER, beside=_INNER)
    wrong = {mistake.path.split(".")[1] for mistake in found}  # the table's own keys, above nested ones
    found += refused(clock, resolved, "clock", inner=_INNER, wrong=wrong)
    if not isinstance(given.get("availability"), dict):
        return {**resolved, **{key: given[key] for key in _INNER if key in given}}, found
    availability, mistakes = check_built("clock.availability", given["availability"], AVAILABILITIES)
    return {**resolved, "availability": availability}, found + mistakes


def build_clock(config: ClockConfig) -> Clock:
    """The clock that `[clock]` describes.

    Raises:
        ValueError: a trace cannot be read, or its figures are not allowed.
    """
    options = python_values(clock, config.options, inner=_INNER)
    if config.availability is not None:
        named = config.availability.model_dump()
        make = AVAILABILITIES.get(config.availability.name)
        options["availability"] = make(**python_values(make, options_of(named)))
    return clock(**options)
