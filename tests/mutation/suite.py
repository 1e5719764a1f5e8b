"""The tests that faults are shown to: collected once, then run in forked processes with one fault each."""

import builtins
import json
import math
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from tests.mutation.fault import Faulty, forget, telling

HANGS = 3600
"""Seconds without an end, on a machine as busy as may be."""

ROOM = 3
"""With a fault, tests may take so many times the CPU that they take without."""


@dataclass(frozen=True)
class Sound:
    """What tests do without any fault.

    Attributes:
        seconds: of CPU, of each test that passes.
        reaches: the functions that it runs, as `file:function`.
        imported: functions that run while tests are collected.
    """

    seconds: Mapping[str, float]
    reaches: Mapping[str, frozenset[str]]
    imported: frozenset[str]

    def telling(self, file: str, function: str) -> list[str]:
        """The tests that run a function; the quickest first.

        With `""`, those that run anything of a file, and those that run nothing at all: they may look at
        what a module holds.
        """

        def reached(name: str) -> bool:
            functions = self.reaches[name]
            if function:
                return f"{file}:{function}" in functions
            return not functions or any(other.startswith(f"{file}:") for other in functions)

        return sorted(filter(reached, self.reaches), key=lambda name: (self.seconds[name], name))

    def allowed(self, names: Iterable[str]) -> int:
        """CPU seconds after which a fault is taken for one that hangs."""
        return int(30 + ROOM * sum(self.seconds[name] for name in names))


class _Plugin:
    def __init__(self, use: Callable[[pytest.Session], None]) -> None:
        self._use = use

    def pytest_sessionstart(self) -> None:
        """Examples are the same each time, and none is made smaller once it has failed."""
        from hypothesis import Phase, settings

        phases = [Phase.explicit, Phase.generate]
        settings.register_profile("mutation", deadline=None, database=None, derandomize=True, phases=phases)
        settings.load_profile("mutation")

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self._use(session)
        return True


class _Told:
    first = ""

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed and not self.first:
            self.first = report.nodeid


def collected(paths: Sequence[str], use: Callable[[pytest.Session], None]) -> None:
    """Collect tests, and let `use` have the session; nothing is run by itself."""
    options = ["-p", "no:terminal", "-p", "no:xdist", "-m", "not slow and not long", "--assert=plain"]
    code = pytest.main([*options, *paths], plugins=[_Plugin(use)])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise RuntimeError(f"the tests could not be collected: {code!r}")


def first_failed(items: Sequence[pytest.Item]) -> str:
    """Run tests until one fails, and name it; empty where none does."""
    told = _Told()
    for place, item in enumerate(items):
        plugins = item.config.pluginmanager
        plugins.register(told)
        following = items[place + 1] if place + 1 < len(items) else None
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        plugins.unregister(told)
        if told.first:
            break
    return told.first


def sound(files: Sequence[str], tests: Sequence[str], workers: int = 1) -> Sound:
    """Run every test once without a fault, and see which functions of `files` it reaches.

    Raises:
        RuntimeError: tests cannot be run.
    """
    paths = [*files, *tests]
    children = [Child(partial(_watched, files, paths[first::workers])) for first in range(workers)]
    running = list(children)
    while running:
        time.sleep(0.2)
        running = [child for child in running if not child.ended()]
    seconds: dict[str, float] = {}
    reaches: dict[str, frozenset[str]] = {}
    imported: set[str] = set()
    for child in children:
        if not child.result.startswith("["):
            raise RuntimeError(f"without a fault: {child.result}")
        some, reached, at_import = json.loads(child.result)
        seconds |= some
        reaches |= {name: frozenset(functions) for name, functions in reached.items()}
        imported |= set(at_import)
    return Sound(seconds, reaches, frozenset(imported))


def _watched(files: Sequence[str], paths: Sequence[str], say: Callable[[str], None]) -> None:
    """In a process that has nothing of Hedgerow loaded: seconds, functions reached, and those at import."""
    seconds: dict[str, float] = {}
    reaches: dict[str, list[str]] = {}
    seen: set[str] = set()
    at_import: list[str] = []

    def use(session: pytest.Session) -> None:
        at_import.extend(sorted(seen))
        for item in session.items:
            seen.clear()
            forget()  # a test that is given what an earlier one has computed would not be seen to reach it
            before = time.process_time()
            if not first_failed([item]):
                seconds[item.nodeid], reaches[item.nodeid] = time.process_time() - before, sorted(seen)

    vars(builtins)["reached"] = seen.add
    sys.meta_path[:0] = [Faulty(file, telling(file)) for file in files]
    collected(paths, use)
    say(json.dumps([seconds, reaches, at_import]))


class Child:
    """A forked process that says something, in lines.

    Args:
        work: what it does; it is given what says a line.
        seconds: of CPU that it may take; what has no such limit may take as long as it wants.
    """

    def __init__(self, work: Callable[[Callable[[str], None]], None], seconds: int = 0) -> None:
        self.result = ""
        self._read, write = os.pipe()
        self._end = time.monotonic() + HANGS if seconds else math.inf
        self._pid = os.fork()
        if self._pid:
            os.close(write)
            return
        os.setsid()

        def say(line: str) -> None:
            with os.fdopen(os.dup(write), "w") as pipe:
                pipe.write(line + "\n")

        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        limit = seconds or resource.RLIM_INFINITY
        resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
        try:
            work(say)
        except BaseException as error:
            say(f"could not be run: {error!r}")
        os._exit(0)

    def ended(self) -> bool:
        """Whether it has; `result` is what it has said, or `"too long"`."""
        while select.select([self._read], [], [], 0)[0]:
            some = os.read(self._read, 2**16)
            if not some:
                break
            self.result += some.decode()
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        if not pid and time.monotonic() < self._end:
            return False
        if not pid:
            os.killpg(self._pid, signal.SIGKILL)
            _, status = os.waitpid(self._pid, 0)
        while some := os.read(self._read, 2**16):
            self.result += some.decode()
        os.close(self._read)
        if status:
            self.result = "too long\n"
        return True
