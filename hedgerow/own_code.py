"""Load a user's own function, named `module:function` or `file.py:function`."""

import importlib
import importlib.util
import sys
from functools import cache
from pathlib import Path
from typing import Any

from hedgerow.wording import did_you_mean


def find_own(text: str, what: str) -> Any:
    """Look up an attribute of a module or a file.

    Args:
        text: `"module:name"`, or `"file.py:name"`, whose path may be relative.
        what: its purpose, such as `"model"`, for the errors.

    Raises:
        ValueError: there is no such module, file or name, or importing it fails.

    >>> find_own("math:sqrt", "model")(9.0)
    3.0
    """
    place, _, attribute = text.rpartition(":")
    module = _load_file(place, what) if place.endswith(".py") else _load_module(place, what)
    if not hasattr(module, attribute):
        near = did_you_mean(attribute, vars(module))
        raise ValueError(f"{what} {text!r}: {place} has no {attribute!r}.{near}")
    return getattr(module, attribute)


def _load_module(name: str, what: str) -> Any:
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise ValueError(
            f"{what} module {name!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error


def _load_file(path: str, what: str) -> Any:
    file = Path(path).expanduser().resolve()
    if not file.is_file():
        raise ValueError(f"{what} file {path!r} does not exist; looked for {file}")
    try:
        return _execute(file)
    except Exception as error:
        raise ValueError(f"{what} file {file} fails: {type(error).__name__}: {error}") from error


@cache
def _execute(file: Path) -> Any:
    """The file as a module, executed once per process."""
    name = f"hedgerow_own:{file}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # classes defined in it must find their module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
