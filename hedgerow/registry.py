"""Names to constructors, with plug-ins by entry point.

A room that offers parts by name makes one `Registry`. A built-in is given as
`"module:attribute"`, so that naming it imports nothing until it is used.
Another package adds its own under the entry-point group of that registry, for
instance in its `pyproject.toml`:

    [project.entry-points."hedgerow.transforms"]
    my_step = "my_package:my_step"
"""

from collections.abc import Mapping
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from hedgerow.checks import did_you_mean


class Registry:
    """Parts of one kind, by name.

    >>> codecs = Registry("codec", "hedgerow.codecs", {"json": "json:dumps"})
    >>> codecs.names()
    ['json']
    >>> codecs.get("json")([1])
    '[1]'
    >>> codecs.get("jsn")
    Traceback (most recent call last):
    ...
    ValueError: there is no codec 'jsn'; there is 'json'. Did you mean 'json'?
    """

    def __init__(self, kind: str, group: str, builtin: Mapping[str, str]) -> None:
        self.kind = kind
        self.group = group
        self._targets = dict(builtin)

    def names(self) -> list[str]:
        """All names, built in first."""
        return [*self._targets, *(p.name for p in self._plugins if p.name not in self._targets)]

    def get(self, name: str) -> Any:
        """The part of that name.

        Raises:
            ValueError: there is none; the error lists the names and the nearest.
        """
        if name in self._targets:
            module, _, attribute = self._targets[name].partition(":")
            return getattr(import_module(module), attribute)
        for plugin in self._plugins:
            if plugin.name == name:
                return plugin.load()
        names = self.names()
        listed = ", ".join(repr(n) for n in names)
        raise ValueError(f"there is no {self.kind} {name!r}; there is {listed}.{did_you_mean(name, names)}")

    def summary(self, name: str) -> str:
        """First line of the part's docstring."""
        text = (self.get(name).__doc__ or "").strip()
        return text.splitlines()[0] if text else ""

    @cached_property
    def _plugins(self) -> tuple[EntryPoint, ...]:
        # Kept, because looking through all installed packages takes 10 ms.
        return tuple(entry_points(group=self.group))
