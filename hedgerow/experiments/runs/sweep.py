"""Run the experiments of a sweep in parallel processes."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Literal

from hedgerow import checks
from hedgerow.experiments.config.errors import StoreError
from hedgerow.experiments.config.expand import Sweep
from hedgerow.experiments.config.schema import to_toml
from hedgerow.experiments.runs.processes import cores, one_thread_each
from hedgerow.experiments.runs.schedule import schedule
from hedgerow.experiments.runs.store import RunFolder, differences, may_change, passing
from hedgerow.experiments.runs.task import Task
from hedgerow.files import write_whole
from hedgerow.locks import hold
from hedgerow.simulation.processes.worker import end_with
from hedgerow.types import RoundResult, RunOptions

FILE = "sweep.toml"
_ORPHANS_SECONDS = 10.0  # time for the processes of a killed sweep to end by themselves


@dataclass(frozen=True)
class Progress:
    """An event in one experiment of a sweep.

    Attributes:
        folder: name of the experiment's folder.
        kind: `"planned"` (once, in the order of the tables), `"started"` (also if resumed), `"round"`,
            `"waiting"` for the others, `"finished"` (also if it had finished before), `"stopped"` because
            another way dominates it, or `"failed"`.
        round: number of rounds done.
        error: what went wrong, in a few lines, if it failed; why, if it was stopped.
    """

    folder: str
    kind: Literal["planned", "started", "round", "waiting", "finished", "stopped", "failed"]
    round: int = 0
    error: str = ""


def run_sweep(
    sweep: Sweep, folder: Path, jobs: int | None = None, *, extend: bool = False
) -> Iterator[Progress]:
    """Run the unfinished experiments, and yield events.

    Each experiment has a folder in `folder` and resumes from it. One that
    fails does not stop the others: its folder says why. Leaving the iteration early ends the
    processes; nothing saved is lost. The results are the same for any number of jobs.

    Args:
        sweep: the experiments.
        folder: of the sweep; created if missing.
        jobs: experiments that run side by side, each in a process of one thread; `None` uses `[run]
            workers`, or else the number of cores. The processes are spawned, so a script that calls this
            needs `if __name__ == "__main__":`.
        extend: whether existing runs may get other rounds and evaluations.

    Raises:
        StoreError: a folder holds a run with another configuration.
        FolderInUse: another process is running this sweep.
        ModuleNotFoundError: Optuna is to search, and is not installed.
        OSError: the folder cannot be written.
    """
    if jobs is None:
        jobs = max((cell.experiment.run.workers or 0 for cell in sweep.cells), default=0) or cores()
    checks.whole(1, jobs=jobs)
    with hold(folder, keep=True):  # its processes continue even while nobody iterates
        _prepare(sweep, folder, extend=extend)
        write_whole(folder / FILE, sweep.toml.encode())
        planned = set[str]()
        with closing(_Pool(folder, jobs)) as pool:
            for tasks in schedule(sweep, folder):
                for task in tasks:
                    if task.cell.folder not in planned:
                        planned.add(task.cell.folder)
                        yield Progress(task.cell.folder, "planned")
                yield from _batch(tasks, folder, pool)


def _batch(tasks: Sequence[Task], folder: Path, pool: "_Pool") -> Iterator[Progress]:
    """Do what is left of these tasks."""
    todo: deque[Task] = deque()
    for task in tasks:
        place = folder / task.cell.folder
        if task.dominated:
            RunFolder(place).end("stopped", task.dominated)
            yield Progress(task.cell.folder, "stopped", rounds_done(place), task.dominated)
        elif rounds_done(place, finished=True):
            yield Progress(task.cell.folder, "finished", task.cell.experiment.rounds)
        elif task.until is not None and rounds_done(place) >= task.until:
            yield Progress(task.cell.folder, "waiting", rounds_done(place))
        else:
            todo.append(task)
    yield from pool.run(todo)


def rounds_done(folder: Path, *, finished: bool = False) -> int:
    """Number of rounds that a run has done, 0 if there is none; with `finished`, 0 if it is unfinished."""
    if not (folder / "config.toml").is_file():
        return 0
    run = RunFolder(folder)
    return run.done if run.finished or not finished else 0


def _prepare(sweep: Sweep, folder: Path, *, extend: bool) -> None:
    """Refuse a folder of something else before changing anything in it, and extend the sweep's runs."""
    own = {cell.folder for cell in sweep.cells}
    if not (folder / FILE).is_file() and any(p.name not in own and not passing(p) for p in folder.iterdir()):
        raise StoreError(f"{folder} is not empty and is not a sweep; choose another folder with --out")
    there = [cell for cell in sweep.cells if (folder / cell.folder / "config.toml").is_file()]
    # An experiment of a sweep that failed before its first round may be corrected.
    fixed = [c for c in there if RunFolder(folder / c.folder).begun or not (folder / FILE).is_file()]
    for cell in fixed:
        changed = differences(folder / cell.folder, to_toml(cell.experiment))
        if changed and not (extend and may_change(changed)):
            raise StoreError(
                f"{folder} holds another sweep: the configuration in {cell.folder} differs"
                f" ({', '.join(changed)}); choose another folder with --out, or remove it"
            )
    for cell in there if extend else ():
        RunFolder.create(folder / cell.folder, to_toml(cell.experiment), extend=True)


class _Pool:
    """Worker processes, each with a pipe: a task goes in, progress comes out.

    `concurrent.futures` would not do: it abandons every experiment when one process is
    killed, and reports nothing until an experiment ends.
    """

    def __init__(self, folder: Path, jobs: int) -> None:
        self._folder, self._jobs = folder, jobs
        self._busy: dict[Connection, tuple[BaseProcess, Task, int]] = {}
        self._idle: list[tuple[Connection, BaseProcess]] = []

    def run(self, todo: deque[Task]) -> Iterator[Progress]:
        """Do these tasks; the processes wait for more."""
        while todo or self._busy:
            while todo and len(self._busy) < self._jobs:
                self._give(todo.popleft())
            for ready in wait(list(self._busy)):
                assert isinstance(ready, Connection)
                yield self._receive(ready)

    def close(self) -> None:
        """End the processes."""
        for pipe, process in self._idle:
            pipe.close()  # at which it ends
            process.join()
        working = [process for process, _, _ in self._busy.values()]
        for process in working:
            process.terminate()
        for process in working:
            process.join()

    def _give(self, task: Task) -> None:
        pipe, process = self._idle.pop() if self._idle else self._started()
        self._busy[pipe] = (process, task, 0)
        with suppress(BrokenPipeError):  # it was killed while idle, as its pipe will tell
            pipe.send(task)

    def _started(self) -> tuple[Connection, BaseProcess]:
        context = multiprocessing.get_context("spawn")
        mine, its = context.Pipe()
        process = context.Process(target=_work, args=(its, self._folder), daemon=True)
        with one_thread_each():
            process.start()
        its.close()
        return mine, process

    def _receive(self, pipe: Connection) -> Progress:
        process, task, done = self._busy.pop(pipe)
        try:
            progress: Progress = pipe.recv()
        except (EOFError, OSError):
            process.join()
            pipe.close()
            return self._failed(task, Progress(task.cell.folder, "failed", done, _death(process.exitcode)))
        if progress.kind in ("started", "round"):
            self._busy[pipe] = (process, task, progress.round)
        else:
            self._idle.append((pipe, process))
        return self._failed(task, progress) if progress.kind == "failed" else progress

    def _failed(self, task: Task, progress: Progress) -> Progress:
        """Leave in the run's folder why it failed, unless that folder is another run's."""
        with suppress(StoreError, OSError):
            made = RunFolder.create(self._folder / task.cell.folder, to_toml(task.cell.experiment))
            made.end("failed", progress.error)
        return progress


def _work(pipe: Connection, folder: Path) -> None:
    """A worker process: do tasks until there are no more."""
    # Ctrl-C reaches every process of the terminal; the parent decides and ends us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    while True:
        try:
            task: Task = pipe.recv()
        except EOFError:
            return
        name = task.cell.folder
        try:
            pipe.send(Progress(name, "started", rounds_done(folder / name)))
            pipe.send(_run(task, folder / name, pipe))
        except (BrokenPipeError, ConnectionResetError):  # the parent is gone
            return


def _run(task: Task, place: Path, pipe: Connection) -> Progress:
    name, experiment = task.cell.folder, task.cell.experiment

    def on_round(result: RoundResult) -> None:
        pipe.send(Progress(name, "round", result.round))

    try:
        from hedgerow.experiments.runs.failures import told_once
        from hedgerow.experiments.runs.run import run_experiment  # imports torch

        with told_once(on_round) as told:
            run = run_experiment(
                experiment, place, told,
                options=RunOptions(workers=1), until=task.until, wait=_ORPHANS_SECONDS,
            )  # fmt: skip
    except (BrokenPipeError, ConnectionResetError):
        raise
    except Exception as error:  # whatever it is, the other experiments continue
        text = str(error) if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: {error}"
        return Progress(name, "failed", rounds_done(place), text or type(error).__name__)
    return Progress(name, "finished" if run.finished else "waiting", rounds_done(place))


def _death(code: int | None) -> str:
    if code is not None and code < 0:
        return f"its process was killed ({signal.Signals(-code).name}), perhaps for lack of memory"
    return f"its process ended with exit code {code}"
