"""A page whose worker begins with a script of the test's: what it has of the world can then be another."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.engines.operated.phone_page.tab import Tab


class WorkerTab(Tab):
    """One page for phones; `before` runs in each of its workers before their own script."""

    before = ""

    def __init__(self, write: int, read: int) -> None:
        self._workers: list[str] = []
        super().__init__(write, read)
        self._call("Target.setAutoAttach", autoAttach=True, waitForDebuggerOnStart=True, flatten=True)

    def in_workers(self, expression: str) -> list[Any]:
        """The value of an expression in each worker of the page."""
        mine, found = self._session, []
        for worker in self._workers:
            self._session = worker
            told = self._call("Runtime.evaluate", expression=expression, returnByValue=True)
            found.append(told["result"].get("value"))
        self._session = mine
        return found

    def _listen(self, event: str, about: dict[str, Any]) -> None:
        if event == "Target.attachedToTarget" and about["waitingForDebugger"]:
            session, kind = about["sessionId"], about["targetInfo"]["type"]
            if kind == "worker":
                self._workers.append(session)
                self._ask(session, "Runtime.evaluate", {"expression": self.before})
            self._ask(session, "Runtime.runIfWaitingForDebugger", {})
        if event == "Target.detachedFromTarget" and about["sessionId"] in self._workers:
            self._workers.remove(about["sessionId"])
        super()._listen(event, about)


LAG = 180
"""Seconds: how long a tab may be hidden, and how far a phone's clock is behind until it has been."""

CLOCK = """(() => {
  let by = -1000 * LAG;
  const since = by, now = Date.now, mono = performance.now.bind(performance), due = new Map();
  const [later, clear] = [self.setTimeout.bind(self), self.clearTimeout.bind(self)];
  Date.now = () => now() + by;
  performance.now = () => mono() + by - since;
  self.setTimeout = (work, wait = 0, ...given) => {
    const run = () => { due.delete(id); work(...given); };
    const id = later(run, wait);
    due.set(id, { at: performance.now() + wait, run });
    return id;
  };
  self.clearTimeout = (id) => { due.delete(id); clear(id); };
  AbortSignal.timeout = (wait) => {
    const late = new AbortController();
    self.setTimeout(() => late.abort(new DOMException("signal timed out", "TimeoutError")), wait);
    return late.signal;
  };
  self.skip = (seconds) => {
    by += 1000 * seconds;
    for (const [id, { at, run }] of [...due]) if (at <= performance.now()) { clear(id); run(); }
  };
})()""".replace("LAG", str(LAG))
"""The worker's clock, which can skip some time: all that was to happen in it then happens at once."""


class ClockTab(WorkerTab):
    """One page for phones that can be hidden for minutes, of which a test waits for none."""

    before = CLOCK

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """The browser stops the tab's process, and when it goes on, `LAG` seconds have passed for it."""
        mine, self._session = self._session, None
        told = self._call("SystemInfo.getProcessInfo")["processInfo"]
        self._session = mine
        self._call("Page.setWebLifecycleState", state="frozen")
        pages = [each["id"] for each in told if each["type"] == "renderer"]
        for page in pages:
            os.kill(page, signal.SIGSTOP)
        try:
            yield
        finally:
            for worker in self._workers:
                self._ask(worker, "Runtime.evaluate", {"expression": f"self.skip({LAG})"})
            for page in pages:
                os.kill(page, signal.SIGCONT)
        self._call("Page.setWebLifecycleState", state="active")
