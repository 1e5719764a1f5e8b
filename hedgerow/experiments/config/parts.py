"""Checks of a table that names a part of a registry."""

from collections.abc import Collection, Mapping
from typing import Any

from hedgerow.experiments.config.arguments import Table, arguments, refused
from hedgerow.experiments.config.errors import Mistake
from hedgerow.registry import Registry
from hedgerow.wording import did_you_mean


def check_named(
    path: str,
    given: Table,
    registry: Registry,
    *,
    inner: Collection[str] = (),
    beside: Collection[str] = (),
    hint: str = "",
) -> tuple[Table, list[Mistake]]:
    """Check a table against the part it names; the keys `beside` belong elsewhere."""
    name = given.get("name")
    if not isinstance(name, str):
        return given, []
    if name not in registry.names():
        listed = ", ".join(repr(n) for n in registry.names())
        near = did_you_mean(name, registry.names())
        return given, [Mistake(f"{path}.name", f"it must be one of {listed}{hint}.{near}", name)]
    options = {key: value for key, value in options_of(given).items() if key not in beside}
    filled, found = arguments(registry.get(name), options, path, inner=inner, beside=beside)
    return {**given, **filled}, found


def check_built(
    path: str, given: Table, registry: Registry, *, inner: Collection[str] = (), beside: Collection[str] = ()
) -> tuple[Table, list[Mistake]]:
    """Like `check_named`, with the mistakes that the part itself finds."""
    table, found = check_named(path, given, registry, inner=inner, beside=beside)
    if table.get("name") in registry.names():
        found += refused(
            registry.get(table["name"]), options_of(table), path, inner=inner, wrong=keys_of(found)
        )
    return table, found


def keys_of(found: list[Mistake]) -> set[str]:
    """The last key of each mistake's path."""
    return {mistake.path.rpartition(".")[2] for mistake in found}


def options_of(table: Mapping[str, Any]) -> Table:
    """A table without its name."""
    return {key: value for key, value in table.items() if key != "name"}
