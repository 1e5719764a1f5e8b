"""Keeps a federation going: SuperLink, gateway and the run's ServerApp, each started again when it dies.

A run of Flower's that is lost is followed by the next one by itself. Hedgerow's
run goes on in it from its own checkpoint: at most one round is done again.
"""

import logging
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, final

import httpx

from hedgerow.coordinator import page, processes
from hedgerow.coordinator.certificates import LOOPBACK, gateway_certificate
from hedgerow.coordinator.events import note
from hedgerow.coordinator.folder import FederationError, FederationFolder
from hedgerow.coordinator.metrics import metrics_token
from hedgerow.coordinator.ports import free_port, taken
from hedgerow.coordinator.presence import gathering
from hedgerow.coordinator.processes import Process
from hedgerow.coordinator.side_runs import SideRuns
from hedgerow.coordinator.superlink import Control, command, environment, link_certificate
from hedgerow.locks import Holder, holder_of

log = logging.getLogger("hedgerow")

_TICK_SECONDS = 0.25
_START_SECONDS = 90.0
_RUN_SECONDS = 1.0
_HANGS_SECONDS = 60.0
_RENEW_SECONDS = 60.0
_MOST_STARTS = 5
_LONGEST_WAIT = 30.0
_RAISED = "ServerApp failed with exception: "  # as Flower begins


@dataclass(frozen=True)
class Job:
    """The run that is to come to its end.

    Attributes:
        folder: of the run; whoever carries it out holds it.
        server_app, client_app: Flower's names of the apps, `"module:attribute"`.
        config: their run config.
        wanted: clients that the run waits for.
        done: rounds that are done.
        finished: whether the run has come to its end.
        report: is called from time to time, to show what is new.
    """

    folder: Path
    server_app: str
    client_app: str
    config: Mapping[str, Any]
    wanted: int
    done: Callable[[], int]
    finished: Callable[[], bool]
    report: Callable[[], None] = lambda: None


class RunFailed(RuntimeError):
    """The run cannot go on; why is its text."""


@final
class Supervisor:
    """Starts what a federation consists of, and keeps it.

    Args:
        folder: which this process holds.
        tell: is given a line of whatever the operator should know.
    """

    def __init__(self, folder: FederationFolder, tell: Callable[[str], None]) -> None:
        self._folder, self._told = folder, tell
        self._processes: dict[Process, Callable[[], None]] = {}
        self._control: Control | None = None
        self._side_runs = SideRuns(folder)
        self._run: int | None = None
        self._server_app: Holder | None = None
        self._before: Holder | None = None
        self._said = ""
        self._failure, self._failed_after, self._failures = "", -1, 0
        self._next_renewal, self._certificate = 0.0, tuple[int, ...]()
        self._next_look, self._answered, self._failed_starts = 0.0, time.monotonic(), 0

    def clear(self) -> None:
        """End what an earlier process has left over that was killed, with whoever writes in its run."""
        if left := processes.end_left_over(self._folder):
            self._tell(f"ended what was left over: {', '.join(left)}")

    def start(self, page_host: str) -> str:
        """Start SuperLink, gateway and status page; returns the page's address, with its token.

        Raises:
            FederationError: one of them does not start; with what it says.
        """
        folder = self._folder
        if not folder.settings.link_port or taken(folder.settings.link_port):
            folder.save(replace(folder.settings, link_port=free_port()))
        gateway_certificate(folder).context()
        if not folder.settings.status_port:
            folder.at(status_port=free_port())
        settings = folder.settings
        page_port = settings.status_port
        for port, host, option in (
            (settings.port, LOOPBACK[0], "--port"), (page_port, page_host, "--status-port"),
        ):  # fmt: skip
            if taken(port, host):
                raise FederationError(
                    f"port {port} is in use by another program; choose another one with {option}"
                )
        token = page.new_token(folder, page_host, page_port)
        metrics_token(folder)
        self._link = Process(folder, "superlink", command(folder), environment(folder))
        self._processes[self._link] = self._start_link
        self._start_link()
        for name, module, port in (("gateway", "serve", settings.port), ("page", "page", page_port)):
            own = [sys.executable, "-m", f"hedgerow.coordinator.{module}", str(folder.path)]
            process = Process(folder, name, [*own, str(Holder.this().pid)], environment(folder))
            self._processes[process] = process.start
            process.start()
            self._wait_for(process, partial(taken, port, page_host if name == "page" else LOOPBACK[0]))
        return f"http://{page_host}:{page_port}/?token={token}"

    def carry_out(self, job: Job, stop: threading.Event) -> bool:
        """Bring a run to its end; whether it came there, and was not stopped before.

        Raises:
            RunFailed: it fails in the same way again, with no round in between.
            FederationError: a process does not start any more.
        """

        def ended() -> bool:
            job.report()
            return job.finished()

        return self._go_on(ended, lambda: self._look_after(job), job.wanted, stop)

    def stay(self, ended: Callable[[], bool], wanted: int, stop: threading.Event) -> bool:
        """Serve devices, and carry out side runs, with no run of its own; whether it has `ended`.

        Raises:
            FederationError: a process does not start any more.
        """

        def look() -> None:
            if time.monotonic() >= self._next_look and self._control is not None:
                self._next_look = time.monotonic() + _RUN_SECONDS
                self._control.unfinished()
                self._answered = time.monotonic()

        return self._go_on(ended, look, wanted, stop)

    def _go_on(
        self, ended: Callable[[], bool], step: Callable[[], None], wanted: int, stop: threading.Event
    ) -> bool:
        while not stop.is_set():
            if ended():
                return True
            self._keep()
            try:
                step()
                assert self._control is not None
                self._side_runs.look(self._control)
            except httpx.HTTPError:  # it has died just now, or does not move any more
                self._end_link_that_hangs()
            self._tell_who_is_there(wanted)
            stop.wait(_TICK_SECONDS)
        return False

    def end(self) -> None:
        """End all of it."""
        if self._control is not None and self._run is not None:
            with suppress(httpx.HTTPError):
                self._control.stop_run(self._run)
        pids = [each.pid for each in self._processes if each.running]
        if self._server_app is not None and not self._server_app.dead:
            pids.append(self._server_app.pid)
        processes.end(pids)
        self._folder.write(processes.FILE, {})

    def _end_link_that_hangs(self) -> None:
        if self._link.running and time.monotonic() - self._answered > _HANGS_SECONDS:
            self._tell(f"the superlink has not answered for {_HANGS_SECONDS:g} s")
            processes.end([self._link.pid], patience=1.0)

    def _keep(self) -> None:
        self._mend()
        self._renew()

    def _mend(self) -> None:
        """Start again what has died; what does not start any more ends all of it."""
        for process, start in self._processes.items():
            process.trim_log()
            if not (how := process.ended()):
                continue
            self._tell(f"the {process.name} {how}; it is started again")
            try:
                start()
                self._failed_starts = 0
            except FederationError:
                self._failed_starts += 1
                if self._failed_starts >= _MOST_STARTS:
                    raise
            processes.write_down(self._folder, self._processes)

    def _renew(self) -> None:
        """Start the SuperLink again where its certificate was about to end; the gateway sees to its own."""
        if time.monotonic() < self._next_renewal:
            return
        self._next_renewal = time.monotonic() + _RENEW_SECONDS
        before = self._certificate
        self._certificate = link_certificate(self._folder).stamp
        if before not in ((), self._certificate) and self._link.running:
            self._tell("the superlink gets a new certificate")
            processes.end([self._link.pid])

    def _start_link(self) -> None:
        """Start the SuperLink; runs of before are stopped, whatever it takes them for."""
        self._end_server_app()
        if self._control is not None:
            self._control.close()
        self._link.start()
        control = self._control = Control(self._folder)
        self._wait_for(self._link, control.ready)
        self._answered = time.monotonic()
        for run in control.unfinished():
            control.stop_run(run)
        self._run = None

    def _wait_for(self, process: Process, ready: Callable[[], bool]) -> None:
        until = time.monotonic() + _START_SECONDS
        while not ready():
            how = process.ended() or ("does not answer" if time.monotonic() > until else "")
            if how:
                raise FederationError(
                    f"the {process.name} {how} at its start; {process.log} ends:\n{process.last_lines()}"
                )
            time.sleep(0.1)
        processes.write_down(self._folder, self._processes)

    def _look_after(self, job: Job) -> None:
        """Start the run, or the next one where it was lost."""
        assert self._control is not None
        holder = holder_of(job.folder)
        if self._run is not None and holder is not None and holder != self._before:
            if holder.dead:
                self._lost(job, "the ServerApp was killed")
                return
            self._server_app = holder
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + _RUN_SECONDS
        if self._run is None:
            self._before = holder  # of an earlier run that was killed
            self._run = self._control.start_run(job.server_app, job.client_app, job.config)
            return
        run = self._control.run(self._run)
        self._answered = time.monotonic()
        if run.status == "finished" and not job.finished():
            self._lost(job, run.details.removeprefix(_RAISED) or f"it was {run.outcome}")

    def _lost(self, job: Job, why: str) -> None:
        """Have the next run started; later each time, where no round was done since."""
        assert self._control is not None
        assert self._run is not None
        self._end_server_app()
        self._control.stop_run(self._run)
        self._run, done = None, job.done()
        if done != self._failed_after:
            self._failures = 0
        elif why == self._failure and "killed" not in why:
            raise RunFailed(why)
        self._failure, self._failed_after = why, done
        wait = min(_LONGEST_WAIT, 0.5 * 2**self._failures)
        self._failures += 1
        self._next_look = time.monotonic() + wait
        self._tell(f"the run is lost: {why}; the next one goes on after round {done}")

    def _end_server_app(self) -> None:
        """Nobody else may write in the run's folder."""
        if self._server_app is not None and not self._server_app.dead:
            processes.end([self._server_app.pid], patience=1.0)
        self._server_app = None

    def _tell(self, text: str) -> None:
        note(self._folder, text)
        self._told(text)

    def _tell_who_is_there(self, wanted: int) -> None:
        told = gathering(self._folder, wanted).told()
        if told != self._said:
            self._said = told
            self._tell(told)


def stop(folder: FederationFolder) -> Sequence[str]:
    """Ask whoever holds a federation to end, and end what is left over; returns what was ended.

    Raises:
        FederationError: nobody holds it.
    """
    holder = holder_of(folder.path)
    if holder is None or holder.dead:
        left = processes.end_left_over(folder)
        if not left:
            raise FederationError(f"no federation runs in {folder.path}")
        return left
    if not holder.here:
        raise FederationError(f"the federation runs on {holder.host}; stop it there")
    processes.end([holder.pid], patience=60.0, family=False)
    return ["hedgerow up"]
