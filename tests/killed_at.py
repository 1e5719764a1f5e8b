"""A process that is killed at one of its file operations, as an error that nobody catches."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


class Killed(BaseException):
    """In place of SIGKILL: no handler of an error runs, and whatever was written stays."""


_OPERATIONS = ((os, "fsync"), (os, "replace"), (os, "truncate"), (os, "open"), (Path, "unlink"))


@contextmanager
def killed_at(operation: int) -> Iterator[list[str]]:
    """End with `Killed` just before the operation of that number, from 0; gives the names of all of them."""
    done: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        for place, name in _OPERATIONS:
            before = getattr(place, name)

            def counted(*given: Any, _before: Any = before, _name: str = name, **options: Any) -> Any:
                done.append(_name)
                if len(done) > operation:
                    raise Killed
                return _before(*given, **options)

            patch.setattr(place, name, counted)
        yield done
