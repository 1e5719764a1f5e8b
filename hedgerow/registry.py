"""Registries of constructors by name, with plug-ins by entry point.

A package that offers parts by name creates one `Registry`. A built-in part is
given as `"module:attribute"`, so it is imported only when it is used. Another
package adds its own under the registry's entry-point group, for instance in its
`pyproject.toml`:

    [project.entry-points."hedgerow.transforms"]
    my_step = "my_package:my_step"

In a notebook or a test, `@TRANSFORMS.register("my_step")` adds one to this
process and to processes forked from it. Code that runs elsewhere (on a device, on
a node of a cluster, in the cells of a sweep) finds it only by its entry point.
"""

from collections.abc import Callable, Mapping
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

Part = TypeVar("Part")


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
        self._registered: dict[str, Any] = {}

    def names(self) -> list[str]:
        """All names, built-in ones first."""
        return list(dict.fromkeys([*self._targets, *self._registered, *(p.name for p in self._plugins)]))

    def is_built_in(self, name: str) -> bool:
        """Whether the part of that name is Hedgerow's own."""
        return name in self._targets

    def register(self, name: str) -> Callable[[Part], Part]:
        """Decorate a part to add it to this process.

        Raises:
            ValueError: the name is taken.

        >>> codecs = Registry("codec", "hedgerow.codecs", {"json": "json:dumps"})
        >>> @codecs.register("text")
        ... def text(value): return str(value)
        >>> codecs.names(), codecs.get("text")([1])
        (['json', 'text'], '[1]')
        """
        if name in self.names():
            raise ValueError(f"there is a {self.kind} {name!r} already; choose another name")

        def add(part: Part) -> Part:
            self._registered[name] = part
            return part

        return add

    def get(self, name: str) -> Any:
        """The part of that name.

        Raises:
            ValueError: there is none; the error lists all names and suggests the nearest.
            ImportError: a plug-in of another package cannot be loaded.
        """
        if name in self._targets:
            module, _, attribute = self._targets[name].partition(":")
            return getattr(import_module(module), attribute)
        if name in self._registered:
            return self._registered[name]
        for plugin in self._plugins:
            if plugin.name == name:
                return self._load(plugin)
        from hedgerow.wording import did_you_mean  # imports numpy, which `hedgerow --help` does not need

        names = self.names()
        listed = ", ".join(repr(n) for n in names)
        raise ValueError(f"there is no {self.kind} {name!r}; there is {listed}.{did_you_mean(name, names)}")

    def summary(self, name: str) -> str:
        """First line of the part's docstring."""
        text = (self.get(name).__doc__ or "").strip()
        return text.splitlines()[0] if text else ""

    def _load(self, plugin: EntryPoint) -> Any:
        try:
            return plugin.load()
        except ModuleNotFoundError:  # says what to install
            raise
        except Exception as error:
            raise ImportError(
                f"the {self.kind} {plugin.name!r} cannot be loaded from {plugin.value}:"
                f" {type(error).__name__}: {error}"
            ) from error

    @cached_property
    def _plugins(self) -> tuple[EntryPoint, ...]:
        # Cached, because searching all installed packages takes 10 ms.
        return tuple(entry_points(group=self.group))
