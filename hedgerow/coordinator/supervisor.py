"""Keeps a federation running: SuperLink, gateway and the run's ServerApp, each restarted when it dies.

When a Flower run is lost, the next one is started automatically. Hedgerow's run
continues in it from its own checkpoint: at most one round is repeated.
"""

import logging
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import final

import httpx

from hedgerow.coordinator import page, processes
from hedgerow.coordinator.certificates import LOOPBACK, gateway_certificate
from hedgerow.coordinator.events import note
from hedgerow.coordinator.folder import FederationError, FederationFolder
from hedgerow.coordinator.job import Job, RunFailed
from hedgerow.coordinator.lost_runs import LostRuns
from hedgerow.coordinator.metrics import metrics_token
from hedgerow.coordinator.ports import free_port, taken
from hedgerow.coordinator.presence import gathering
from hedgerow.coordinator.processes import Process
from hedgerow.coordinator.server_app import ServerAppProcess
from hedgerow.coordinator.side_runs import SideRuns
from hedgerow.coordinator.superlink import Control, Run, command, environment, link_certificate
from hedgerow.coordinator.waiting import Stopped, Waiting
from hedgerow.locks import Holder

log = logging.getLogger("hedgerow")

_TICK_SECONDS = 0.25
_START_SECONDS = 90.0
_RUN_SECONDS = 1.0
_CALL_SECONDS = 20.0
_HANGS_SECONDS = 35.0
_GOODBYE_SECONDS = 3.0
_RENEW_SECONDS = 60.0
_MOST_STARTS = 5
_RAISED = "ServerApp failed with exception: "  # as Flower's messages begin


@final
class Supervisor:
    """Starts the processes of a federation, and keeps them running.

    Args:
        folder: locked by this process.
        tell: called with a line of text for the operator.
        stop: when it is set, everything ends soon.
    """

    def __init__(self, folder: FederationFolder, tell: Callable[[str], None], stop: threading.Event) -> None:
        self._folder, self._told, self._waiting = folder, tell, Waiting(stop)
        self._processes: dict[Process, Callable[[], None]] = {}
        self._written: Mapping[str, int] = {}
        self._control: Control | None = None
        self._side_runs = SideRuns(folder)
        self._run: int | None = None
        self._server_app = ServerAppProcess(folder)
        self._said: dict[str, str] = {}
        self._lost_runs, self._interrupted = LostRuns(), ""
        self._next_look, self._failed_starts = 0.0, 0
        self._answered = time.monotonic()
        self._next_renewal, self._certificate = 0.0, tuple[int, ...]()

    def clear(self) -> None:
        """End processes left over from an earlier one that was killed, including those of its run."""
        if left := processes.end_left_over(self._folder):
            self._tell(f"ended what was left over: {', '.join(left)}")

    def start(self, page_host: str, code: str = "") -> str:
        """Start SuperLink, gateway and status page, with a code for phones; returns the page's address.

        Raises:
            FederationError: one of them does not start; the error has its output.
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
                    f"port {port} is in use by another program; choose another with {option}"
                )
        token, _ = page.new_token(folder, page_host, page_port), metrics_token(folder)
        self._link = Process(folder, "superlink", command(folder), environment(folder))
        self._processes[self._link] = self._start_link
        with suppress(Stopped):
            self._start_link()
            for name, module, port in (("gateway", "serve", settings.port), ("page", "page", page_port)):
                own = [sys.executable, "-m", f"hedgerow.coordinator.{module}", str(folder.path)]
                shown = {page.CODE: code} if name == "page" else {}
                process = Process(folder, name, [*own, str(Holder.this().pid)], environment(folder) | shown)
                self._processes[process] = partial(process.start, self._waiting.pause)
                process.start()
                self._wait_for(process, partial(taken, port, page_host if name == "page" else LOOPBACK[0]))
        return f"http://{page_host}:{page_port}/?token={token}"

    def carry_out(self, job: Job) -> bool:
        """Complete a run; returns whether it was completed, not stopped before.

        Raises:
            RunFailed: it fails in the same way again, with no round in between.
            FederationError: a process no longer starts.
        """

        def ended() -> bool:
            with suppress(OSError):
                job.report()
            return job.finished()

        return self._go_on(ended, lambda: self._look_after(job), job.wanted)

    def stay(self, ended: Callable[[], bool], wanted: int) -> bool:
        """Serve devices and carry out side runs, without a run; returns whether it has `ended`.

        Raises:
            FederationError: a process no longer starts.
        """

        def look() -> None:
            if time.monotonic() >= self._next_look and self._control is not None:
                self._next_look = time.monotonic() + _RUN_SECONDS
                self._waiting.call(self._control.unfinished)
                self._answered = time.monotonic()

        return self._go_on(ended, look, wanted)

    def _go_on(self, ended: Callable[[], bool], step: Callable[[], None], wanted: int) -> bool:
        with suppress(Stopped):
            while True:
                if ended():
                    return True
                try:
                    self._mend()
                    self._renew()
                    step()
                    assert self._control is not None
                    self._waiting.call(self._side_runs.look, self._control)
                    self._tell_changed("problem", "")
                except httpx.HTTPError:  # it has just died, or hangs
                    self._end_link_that_hangs()
                except OSError as error:  # a full disk, until there is room again
                    self._tell_changed("problem", f"{error}; trying again")
                self._tell_changed("gathering", gathering(self._folder, wanted).told())
                self._waiting.pause(_TICK_SECONDS)
        return False

    def end(self) -> None:
        """End all processes."""
        if self._run is not None and self._link.running:
            control = Control(self._folder, timeout=_GOODBYE_SECONDS)
            with suppress(httpx.HTTPError):
                control.stop_run(self._run)
            control.close()
        pids = [each.pid for each in self._processes if each.running]
        if (server_app := self._server_app.running) is not None:
            pids.append(server_app)
        processes.end(pids)
        with suppress(OSError):  # a full disk; whoever looks will find them dead
            self._folder.write(processes.FILE, {})

    def _end_link_that_hangs(self) -> None:
        """Kill the SuperLink if it has not answered in the time for two calls."""
        if self._link.running and time.monotonic() - self._answered > _HANGS_SECONDS:
            self._tell(f"the superlink has not answered for {_HANGS_SECONDS:g} s")
            processes.end([self._link.pid], patience=0.0)

    def _mend(self) -> None:
        """Restart processes that have died; one that no longer starts ends the federation."""
        for process, start in self._processes.items():
            process.trim_log()
            if hangs := process.end_if_it_hangs():
                self._tell(hangs)
            if not (how := process.ended()):
                continue
            self._tell(f"the {process.name} {how}; restarting it")
            if process.name == "gateway":  # messages that it was delivering may be lost
                self._interrupted = f"the gateway {how}"
            try:
                start()
                self._failed_starts = 0
            except FederationError:
                self._failed_starts += 1
                if self._failed_starts >= _MOST_STARTS:
                    raise
        self._write_down()

    def _write_down(self) -> None:
        """Record the running processes, if they have changed; raises `OSError`."""
        there = {each.name: each.pid for each in self._processes if each.running}
        if there != self._written:
            processes.write_down(self._folder, self._processes)
            self._written = there

    def _renew(self) -> None:
        """Restart the SuperLink if its certificate is about to expire; the gateway renews its own."""
        if time.monotonic() < self._next_renewal:
            return
        self._next_renewal = time.monotonic() + _RENEW_SECONDS
        before = self._certificate
        self._certificate = link_certificate(self._folder).stamp
        if before not in ((), self._certificate) and self._link.running:
            self._tell("the superlink gets a new certificate")
            processes.end([self._link.pid])

    def _start_link(self) -> None:
        """Start the SuperLink, and stop earlier runs, whatever it thinks their state is."""
        self._server_app.end()
        if self._control is not None:
            self._control.close()
        self._link.start(self._waiting.pause)
        control = self._control = Control(self._folder, timeout=_CALL_SECONDS)
        self._wait_for(self._link, control.ready)
        self._answered = time.monotonic()
        for run in control.unfinished():
            control.stop_run(run)
        self._run = None

    def _wait_for(self, process: Process, ready: Callable[[], bool]) -> None:
        with suppress(OSError):  # a full disk; tried again later
            self._write_down()
        until = time.monotonic() + _START_SECONDS
        while not self._waiting.call(ready):
            how = process.ended() or ("does not answer" if time.monotonic() > until else "")
            if how:
                raise FederationError(
                    f"the {process.name} {how} at its start; {process.log} ends:\n{process.last_lines()}"
                )
            self._waiting.pause(0.1)

    def _look_after(self, job: Job) -> None:
        """Start the run, or the next one if it was lost."""
        assert self._control is not None
        if self._run is not None:
            self._server_app.find(job.folder, self._link.pid)
        if not self._server_app.gone and time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + _RUN_SECONDS
        if self._run is None:
            self._server_app.begin(job.folder, self._link.pid)
            self._interrupted = ""
            start = self._control.start_run
            self._run = self._waiting.call(start, job.server_app, job.client_app, job.config)
            self._answered = time.monotonic()
            return
        run = self._waiting.call(self._control.run, self._run)
        self._answered = time.monotonic()
        if not job.finished() and (why := self._why_lost(run)):
            self._lost(job, why, of_its_own=run.outcome == "failed")

    def _why_lost(self, run: Run) -> str:
        """Why a run is lost; empty if it is running."""
        if run.status == "finished":
            return run.details.removeprefix(_RAISED) or f"it was {run.outcome}"
        if self._server_app.gone:
            return "the ServerApp was killed"
        if self._interrupted:
            return self._interrupted
        if self._server_app.waited_for() > _HANGS_SECONDS:  # whatever starts it has died, or hangs
            processes.end([self._link.pid], patience=0.0)
            return f"the SuperLink has not started the ServerApp in {_HANGS_SECONDS:g} s"
        return self._server_app.hangs()

    def _lost(self, job: Job, why: str, *, of_its_own: bool) -> None:
        """Have the next run started."""
        assert self._control is not None
        assert self._run is not None
        self._server_app.end()
        run, self._run = self._run, None
        if self._lost_runs.hopeless(why, done := job.done(), of_its_own=of_its_own):
            raise RunFailed(why)
        self._next_look = time.monotonic() + self._lost_runs.wait()
        self._tell(f"the run is lost: {why}; the next one continues after round {done}")
        self._waiting.call(self._control.stop_run, run)

    def _tell(self, text: str) -> None:
        note(self._folder, text)
        with suppress(OSError):  # the disk that it is written to may be full
            self._told(text)

    def _tell_changed(self, what: str, text: str) -> None:
        """Tell a line about something that is checked repeatedly, if the line has changed."""
        if text != self._said.get(what, ""):
            self._said[what] = text
            if text:
                self._tell(text)
