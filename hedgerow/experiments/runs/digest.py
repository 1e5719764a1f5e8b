"""Digests of data and code: equal if two runs compute with the same inputs.

They cover arrays, to the last bit; of a model, its layers with their settings, and
the code of the user's own classes; of the user's own functions, the compiled code,
defaults, closures and the globals that they use, if these are plain values, arrays,
functions or classes. Lists and dictionaries among these may be caches and are not
covered, nor is the code of installed packages.
"""

import dataclasses
import dis
import functools
import hashlib
import sys
import sysconfig
import types
from collections.abc import Iterable, Mapping, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any, final

import numpy as np

_PLAIN = (bool, int, float, complex, str, bytes, types.NoneType, types.EllipsisType)
_INSTALLED = tuple(
    str(Path(sysconfig.get_path(kind)).resolve()) for kind in ("stdlib", "platstdlib", "purelib", "platlib")
)


def digest(*values: Any) -> str:
    """A digest of 32 hex digits that differs if the values do.

    >>> digest(np.arange(3)) == digest(np.arange(3)), digest(np.arange(3)) == digest(np.arange(4))
    (True, False)
    """
    found = _Digest()
    for value in values:
        found.add(value)
    return found.hash.hexdigest()


def digest_of_module(module: Any) -> str:
    """The digest of a `torch.nn.Module`: its layers, their settings and their own code, not their weights."""
    found = _Digest()
    for name, layer in module.named_modules():
        found.say(f"layer {name} {type(layer).__module__}.{type(layer).__qualname__}")
        found.add(type(layer))
        for key, value in sorted(vars(layer).items()):
            if not key.startswith("_") and key != "training":
                found.say(key)
                found.add(value)
    return found.hash.hexdigest()


@final
class _Digest:
    def __init__(self) -> None:
        self.hash = hashlib.blake2b(digest_size=16)
        self._seen: dict[int, Any] = {}  # kept alive, so that no id is reused

    def say(self, text: str) -> None:
        """Add a text, delimited so that consecutive texts are unambiguous."""
        data = text.encode("utf-8", "surrogatepass")
        self.hash.update(len(data).to_bytes(8, "little"))
        self.hash.update(data)

    def add(self, value: Any) -> None:
        """Add a value of any kind, by its contents."""
        if isinstance(value, _PLAIN):
            self.say(f"{type(value).__name__} {value!r}")
            return
        if id(value) in self._seen:
            return
        if isinstance(value, np.ndarray):
            self._array(value)
            return
        self._seen[id(value)] = value
        self.say(type(value).__qualname__)
        if isinstance(value, tuple | list):
            self._all(value)
        elif isinstance(value, set | frozenset):
            self._all(sorted(value, key=repr))
        elif isinstance(value, Mapping):
            self._all(value.items())
        elif isinstance(value, types.FunctionType):
            self._function(value)
        elif isinstance(value, types.CodeType):
            self.hash.update(value.co_code)
            self._all((*value.co_consts, value.co_names))
        elif isinstance(value, functools.partial):
            self._all((value.func, value.args, *sorted(value.keywords.items())))
        elif isinstance(value, types.MethodType):
            self._all((value.__func__, value.__self__))
        elif isinstance(value, type):
            self._class(value)
        elif dataclasses.is_dataclass(value):
            self._all((type(value), *(getattr(value, f.name) for f in dataclasses.fields(value))))
        elif hasattr(value, "__wrapped__"):  # functools.cache and the like
            self.add(value.__wrapped__)
        elif callable(value) and hasattr(value, "__qualname__"):  # a function of a library
            self.say(f"{value.__module__}.{value.__qualname__}")
        else:
            self.add(type(value))

    def _all(self, values: Iterable[Any]) -> None:
        for value in values:
            self.hash.update(b".")
            self.add(value)

    def _array(self, array: np.ndarray[Any, Any]) -> None:
        self.say(f"array {array.dtype.str} {array.shape}")
        if array.dtype.hasobject:
            self._all(array.ravel().tolist())
        else:
            self.hash.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)

    def _function(self, function: types.FunctionType) -> None:
        self.say(f"{function.__module__}.{function.__qualname__}")
        if not _own(function.__module__):
            return
        self._all(
            (function.__code__, function.__defaults__ or (), *sorted((function.__kwdefaults__ or {}).items()))
        )
        changed = _changed(function.__code__)
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            with suppress(ValueError):  # not filled yet
                if name not in changed:
                    self._used(cell.cell_contents)
        for name in _names(function.__code__):
            if name in function.__globals__ and name not in changed:
                self.say(name)
                self._used(function.__globals__[name])

    def _used(self, value: Any) -> None:
        """Add what a function uses from outside, except what may change from call to call."""
        if not isinstance(value, list | set | MutableMapping):
            self.add(value)

    def _class(self, kind: type) -> None:
        self.say(f"{kind.__module__}.{kind.__qualname__}")
        if not _own(kind.__module__):
            return
        self._all(kind.__bases__)
        for name, value in sorted(vars(kind).items()):
            inner = value.__func__ if isinstance(value, staticmethod | classmethod) else value
            inner = inner.fget if isinstance(inner, property) else inner
            if isinstance(inner, (types.FunctionType, *_PLAIN)) and name not in (
                "__doc__",
                "__firstlineno__",
            ):
                self.say(name)
                self.add(inner)


def _names(code: types.CodeType) -> list[str]:
    """Names that a function and its inner functions look up."""
    inner = [name for const in code.co_consts if isinstance(const, types.CodeType) for name in _names(const)]
    return sorted({*code.co_names, *inner})


def _changed(code: types.CodeType) -> set[str]:
    """Outer names that a function assigns to, such as a counter."""
    stores = {i.argval for i in dis.get_instructions(code) if i.opname in ("STORE_GLOBAL", "STORE_DEREF")}
    return stores.union(*(_changed(const) for const in code.co_consts if isinstance(const, types.CodeType)))


def _own(module: str | None) -> bool:
    """Whether a module is the user's: neither installed, nor Python's, nor ours."""
    if not module or module.partition(".")[0] == "hedgerow" or module in sys.builtin_module_names:
        return False
    file = getattr(sys.modules.get(module), "__file__", None)
    return file is None or not str(Path(file).resolve()).startswith(_INSTALLED)
