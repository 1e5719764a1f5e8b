"""Names every write and stage of a federation's processes, and ends one at the place that a test has armed.

A test puts this folder on the path of what it starts, and `KILLING` into its environment: a folder.
Whatever is passed for the first time is added there to `places.txt`; where `armed` there holds the name
of a place, whoever comes by takes it away and is dead at once, as by `kill -9`. The package knows
nothing of it.
"""

import importlib.abc
import importlib.machinery
import inspect
import os
import re
import signal
import sys
from contextlib import contextmanager
from functools import wraps
from pathlib import Path

HERE = os.environ.get("KILLING", "")
ROLES = (
    ("gateway", r"hedgerow\.coordinator\.serve "),
    ("page", r"hedgerow\.coordinator\.page "),
    ("supervisor", r"/hedgerow up "),
    ("node", r"/hedgerow join |-m hedgerow\.node "),
    ("serverapp", r"/flwr-serverapp "),
    ("superexec", r"/flower-superexec "),
    ("superlink", r"/flower-superlink "),
)
STAGES = {
    "hedgerow.files": ("append_line",),
    "hedgerow.locks": ("hold",),
    "hedgerow.spans": ("span",),
    "hedgerow.coordinator.gateway": ("Gateway._relay", "Gateway._join"),
    "hedgerow.coordinator.page": ("snapshot",),
    "hedgerow.coordinator.processes": ("Process.start", "end_left_over", "end"),
    "hedgerow.coordinator.superlink": (
        "Control.start_run", "Control.stop_run", "Control.unfinished", "Control.register",
    ),
    "hedgerow.coordinator.supervisor": (
        "Supervisor.clear", "Supervisor.start", "Supervisor._mend", "Supervisor._lost",
    ),
    "hedgerow.experiments.runs.run": ("run_experiment",),
    "hedgerow.experiments.runs.store": ("RunFolder.append",),
    "hedgerow.server.app": ("load_checkpoint", "save_checkpoint", "save_model"),
    "hedgerow.server.asking": ("ask",),
    "hedgerow.server.described": ("DescribedGrid.push_messages",),
    "hedgerow.server.exchange": ("exchange",),
    "hedgerow.server.roster": ("Roster.refresh", "Roster.wait"),
    "hedgerow.node.fleet": (
        "Fleet.activate", "Fleet.heartbeat", "Fleet.fetch", "Fleet.push", "Fleet.confirm",
    ),
    "hedgerow.node.outbox": ("Outbox.receive", "Outbox.settle", "Outbox.keep", "Outbox.claim", "Outbox.done"),
    "hedgerow.node.responder": ("Responder.answer",),
    "flwr.server.superlink.linkstate.sql_linkstate": "SqlLinkState",
    "flwr.supercore.object_store.sql_object_store": "SqlObjectStore",
}  # fmt: skip
ROLE = next((role for role, pattern in ROLES if re.search(pattern, " ".join(sys.orig_argv) + " ")), "")
_seen: set[str] = set()


def passed(place: str) -> None:
    """Somebody has come by a place."""
    name = f"{ROLE} {place}"
    if name not in _seen:
        _seen.add(name)
        with open(f"{HERE}/places.txt", "a", encoding="utf-8") as file:
            file.write(name + "\n")
    try:
        with open(f"{HERE}/armed", encoding="utf-8") as file:
            armed = file.read()
        if armed == name:
            _unlink(f"{HERE}/armed")  # of several, one
            os.kill(os.getpid(), signal.SIGKILL)
    except FileNotFoundError:
        pass


def around(function, name):
    """The function, with a place before it and one after it."""
    if inspect.iscoroutinefunction(function):

        @wraps(function)
        async def waited(*given, **named):
            told = name + "".join(f" {each.path}" for each in given if hasattr(each, "path"))
            passed(f"before {told}")
            found = await function(*given, **named)
            passed(f"after {told}")
            return found

        return waited

    if inspect.isgeneratorfunction(function):

        @wraps(function)
        def generated(*given, **named):
            passed(f"before {name}")
            yield from function(*given, **named)
            passed(f"after {name}")

        return generated
    if inspect.isgeneratorfunction(inspect.unwrap(function)):

        @contextmanager
        def entered(*given, **named):
            passed(f"before {name}")
            with function(*given, **named) as found:
                passed(f"in {name}")
                yield found
            passed(f"after {name}")

        return entered

    @wraps(function)
    def called(*given, **named):
        told = f"{name} {given[0]}" if name == "span" else name
        passed(f"before {told}")
        found = function(*given, **named)
        passed(f"after {told}")
        return found

    return called


def file_of(given) -> str:
    """A file in the folders of the test, without numbers; empty for any other."""
    try:
        path = os.readlink(f"/proc/self/fd/{given}") if isinstance(given, int) else os.path.abspath(given)
    except OSError:
        return ""
    home = str(Path(HERE).parent)
    if not path.startswith(home):
        return ""
    name = re.sub(r"[0-9a-f]{16,}", "X", path.removeprefix(home + "/"))
    return re.sub(r"\d+", "N", re.sub(r"device-\w+", "device", name))


def watched(name, function, which):
    """A call of the operating system's, with a place before and after it."""

    def called(*given, **named):
        file = file_of(given[which])
        if file:
            passed(f"before {name} {file}")
        found = function(*given, **named)
        if file:
            passed(f"after {name} {file}")
        return found

    return called


class Finder(importlib.abc.MetaPathFinder):
    """Puts the places into a module when it is imported."""

    def find_spec(self, name, path, target=None):
        if name not in STAGES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            add(module, STAGES[name])

        spec.loader.exec_module = exec_module
        return spec


def add(module, stages) -> None:
    if isinstance(stages, str):  # all that a class of Flower's does
        owner = getattr(module, stages)
        names = [name for name, each in vars(owner).items() if inspect.isfunction(each) and name[0] != "_"]
        stages = [f"{stages}.{name}" for name in names]
    for stage in stages:
        owner, _, name = stage.rpartition(".")
        place = getattr(module, owner) if owner else module
        setattr(place, name, around(getattr(place, name), stage))


_unlink = os.unlink
if HERE and ROLE:
    os.replace = watched("replace", os.replace, 1)
    os.unlink = watched("unlink", os.unlink, 0)
    os.fsync = watched("fsync", os.fsync, 0)
    sys.meta_path.insert(0, Finder())
