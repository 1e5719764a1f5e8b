"""An actor of a Ray cluster, which does the work of a worker process."""

import gc
import logging
import logging.handlers
import sys
import time
from dataclasses import replace
from typing import Any, final

from hedgerow import generators
from hedgerow.simulation.client_runner import Block, Finish, Merged, Outcome, Runner, Single, Start, Summed
from hedgerow.simulation.clients import Clients
from hedgerow.spans import Span


@final
class Actor:
    """One worker; Ray calls its methods.

    Args:
        given: the clients, and what makes their collectors.
        clock: the difference between the wall clock and the spans' clock on the machine that drives the run.
    """

    def __init__(self, given: tuple[Clients, Start | None], clock: int) -> None:
        self._records: list[logging.LogRecord] = []
        _settle_in(_Records(self._records))
        self._shift = clock_difference() - clock
        self._number = 0
        self._runner = Runner(*given, at=lambda position, crowded: None)

    def ready(self) -> str:
        """The id of the node that it runs on."""
        import ray

        return str(ray.get_runtime_context().get_node_id())

    node = ready

    def do(
        self, task: Single | Block | Finish, number: int, told: Any
    ) -> tuple[Outcome, list[logging.LogRecord]]:
        """Do a task of a round; `number` says which round it belongs to."""
        if number != self._number:
            self._runner.receive(told.data)
            self._number = number
        outcome: Outcome
        if isinstance(task, Single):
            answered = self._runner.single(task)
            outcome = replace(answered, spans=self._shifted(answered.spans, self._shift))
        elif isinstance(task, Block):
            outcome = self._runner.block(task)
        else:
            outcome = Summed(*self.finish())
        return outcome, self._logged()

    def finish(self) -> tuple[Any, list[Span]]:
        """Hand over what was collected."""
        collected, spans = self._runner.finish(lambda collected: collected)
        return collected, self._shifted(spans, self._shift)

    def merge(self, other: list[Any]) -> tuple[Merged, list[logging.LogRecord]]:
        """Add what another actor hands over, if it is still available."""
        import ray

        try:
            collected, spans = ray.get(other[0])
        except ray.exceptions.RayError:
            return Merged(False), self._logged()
        self._runner.merge(collected, self._shifted(spans, -self._shift))
        return Merged(True), self._logged()

    @staticmethod
    def _shifted(spans: list[Span], by: int) -> list[Span]:
        return [s._replace(start=s.start + by, end=s.end + by) for s in spans]

    def _logged(self) -> list[logging.LogRecord]:
        records = self._records[:]
        del self._records[: len(records)]
        return records


class _Records(logging.handlers.QueueHandler):
    """Keeps log records, in a form that can be sent."""

    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__(records)  # type: ignore[arg-type]
        self._kept = records

    def enqueue(self, record: logging.LogRecord) -> None:
        self._kept.append(record)


def _settle_in(forward: logging.Handler) -> None:
    for logger in list(logging.root.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger) and not logger.name.startswith("ray"):
            logger.handlers = [] if logger.propagate else [forward]
    logging.root.handlers = [forward]
    generators.disown()
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
    gc.freeze()


def clock_difference() -> int:
    """Wall clock minus the spans' clock; machines share the wall clock if it is set correctly."""
    return time.time_ns() - time.perf_counter_ns()
