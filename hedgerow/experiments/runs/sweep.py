"""Run the experiments of a sweep in parallel processes."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Literal

from hedgerow import checks
from hedgerow.experiments.config.errors import StoreError
from hedgerow.experiments.config.expand import Cell, Sweep
from hedgerow.experiments.config.schema import to_toml
from hedgerow.experiments.runs.processes import cores
from hedgerow.experiments.runs.store import RunFolder, differences, may_change, passing
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
        kind: `"started"` (also if resumed), `"round"`, `"finished"` (also if it had
            finished before), or `"failed"`.
        round: number of rounds done.
        error: what went wrong, in a few lines, if it failed.
    """

    folder: str
    kind: Literal["started", "round", "finished", "failed"]
    round: int = 0
    error: str = ""


def run_sweep(
    sweep: Sweep, folder: Path, workers: int | None = None, *, extend: bool = False
) -> Iterator[Progress]:
    """Run the unfinished experiments, and yield events.

    Each experiment has a folder in `folder` and resumes from it. One that
    fails does not stop the others. Leaving the iteration early ends the
    processes; nothing saved is lost.

    Args:
        sweep: the experiments.
        folder: of the sweep; created if missing.
        workers: number of processes, one thread each; `None` uses `[run] workers`, or else the number
            of cores. They are spawned, so a script that calls this needs `if __name__ == "__main__":`.
        extend: whether existing runs may get other rounds and evaluations.

    Raises:
        StoreError: a folder holds a run with another configuration.
        FolderInUse: another process is running this sweep.
        OSError: the folder cannot be written.
    """
    if workers is None:
        workers = max((cell.experiment.run.workers or 0 for cell in sweep.cells), default=0) or cores()
    checks.whole(1, workers=workers)
    with hold(folder, keep=True):  # its processes continue even while nobody iterates
        _prepare(sweep, folder, extend=extend)
        write_whole(folder / FILE, sweep.toml.encode())
        todo: deque[Cell] = deque()
        for cell in sweep.cells:
            if rounds_done(folder / cell.folder, finished=True):
                yield Progress(cell.folder, "finished", cell.experiment.rounds)
            else:
                todo.append(cell)
        yield from _Pool(folder, todo, min(workers, len(todo))).run()


def rounds_done(folder: Path, *, finished: bool = False) -> int:
    """Number of rounds that a run has done, 0 if there is none; with `finished`, 0 if it is unfinished."""
    if not (folder / "config.toml").is_file():
        return 0
    run = RunFolder(folder)
    return len(run.rounds()) if run.finished or not finished else 0


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
    """Worker processes, each with a pipe: an experiment goes in, progress comes out.

    `concurrent.futures` would not do: it abandons every experiment when one process is
    killed, and reports nothing until an experiment ends.
    """

    def __init__(self, folder: Path, todo: deque[Cell], workers: int) -> None:
        self._folder, self._todo, self._workers = folder, todo, workers
        self._busy: dict[Connection, tuple[BaseProcess, Cell, int]] = {}

    def run(self) -> Iterator[Progress]:
        try:
            for _ in range(self._workers):
                self._start()
            while self._busy:
                for ready in wait(list(self._busy)):
                    assert isinstance(ready, Connection)
                    yield self._receive(ready)
        finally:
            for process, _, _ in self._busy.values():
                process.terminate()
            for process, _, _ in self._busy.values():
                process.join()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        mine, its = context.Pipe()
        process = context.Process(target=_work, args=(its, self._folder), daemon=True)
        process.start()
        its.close()
        self._give(mine, process)

    def _give(self, pipe: Connection, process: BaseProcess) -> None:
        """Hand the next experiment to a process, or let it end."""
        if self._todo:
            cell = self._todo.popleft()
            self._busy[pipe] = (process, cell, 0)
            pipe.send(cell)
            return
        self._busy.pop(pipe, None)
        pipe.close()
        process.join()

    def _receive(self, pipe: Connection) -> Progress:
        process, cell, done = self._busy[pipe]
        try:
            progress: Progress = pipe.recv()
        except (EOFError, OSError):
            process.join()
            del self._busy[pipe]
            pipe.close()
            if self._todo:
                self._start()
            return Progress(cell.folder, "failed", done, _death(process.exitcode))
        if progress.kind in ("finished", "failed"):
            self._give(pipe, process)
        else:
            self._busy[pipe] = (process, cell, progress.round)
        return progress


def _work(pipe: Connection, folder: Path) -> None:
    """A worker process: run experiments until there are no more."""
    # Ctrl-C reaches every process of the terminal; the parent decides and ends us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    while True:
        try:
            cell: Cell = pipe.recv()
        except EOFError:
            return
        place = folder / cell.folder
        try:
            pipe.send(Progress(cell.folder, "started", rounds_done(place)))
            pipe.send(_run(cell, place, pipe))
        except (BrokenPipeError, ConnectionResetError):  # the parent is gone
            return


def _run(cell: Cell, place: Path, pipe: Connection) -> Progress:
    def on_round(result: RoundResult) -> None:
        pipe.send(Progress(cell.folder, "round", result.round))

    try:
        from hedgerow.experiments.runs.failures import told_once
        from hedgerow.experiments.runs.run import run_experiment  # imports torch

        with told_once(on_round) as told:
            run_experiment(cell.experiment, place, told, options=RunOptions(workers=1), wait=_ORPHANS_SECONDS)
    except (BrokenPipeError, ConnectionResetError):
        raise
    except Exception as error:  # whatever it is, the other experiments continue
        text = str(error) if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: {error}"
        return Progress(cell.folder, "failed", rounds_done(place), text or type(error).__name__)
    return Progress(cell.folder, "finished", cell.experiment.rounds)


def _death(code: int | None) -> str:
    if code is not None and code < 0:
        return f"its process was killed ({signal.Signals(-code).name}), perhaps for lack of memory"
    return f"its process ended with exit code {code}"
