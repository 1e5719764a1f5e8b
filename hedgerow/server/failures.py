"""Detect that a run cannot succeed: every client fails, and all in the same way."""

import re
from collections.abc import Mapping, Sequence
from typing import final

from hedgerow.server.replies import is_silence

_ROUNDS_IN_A_ROW = 3
_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?([eE][-+]?\d+)?")


class EveryClientFailed(ValueError):
    """Every client that was asked failed in the same way: the model, its loss or the data is at fault."""


def cause(reason: str, client: str) -> str:
    """A reason without the parts that differ between clients: names and numbers.

    >>> cause("it failed: client 'b-2': 7 rows", "b-2") == cause("it failed: client 'a': 12 rows", "a")
    True
    """
    text = reason.replace(repr(client), "").replace(f"client {client}", "client ")
    if len(client) > 3:  # a shorter name may be part of many words
        text = text.replace(client, "")
    return " ".join(_NUMBER.sub("#", text).split())


@final
class Failures:
    """Consecutive rounds in which every client failed.

    A run stops if no reply has counted so far and at least two clients, or all
    there are, have failed in the same way; later on, after three such rounds in a
    row, because another cohort may succeed with the unchanged model. A client that
    merely does not reply, or cannot be reached, may be available the next time.
    """

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}
        self._rounds, self._succeeded = 0, False

    def after(
        self, round: int, cohort: Sequence[str], dropped: Mapping[str, str], counted: int, clients: int
    ) -> None:
        """Record a round; `clients` is the number of known clients.

        Raises:
            EveryClientFailed: the run cannot succeed.
        """
        if not cohort:
            return
        reasons = {name: dropped[name] for name in cohort if name in dropped}
        told = {**self._reasons, **reasons}
        alike = len({cause(reason, name) for name, reason in told.items()}) == 1
        if counted or len(reasons) < len(cohort) or not alike or any(map(is_silence, reasons.values())):
            self._reasons, self._rounds = {}, 0
            self._succeeded |= counted > 0
            return
        self._reasons, self._rounds = told, self._rounds + 1
        if self._rounds >= _ROUNDS_IN_A_ROW if self._succeeded else len(told) >= min(2, clients):
            name, reason = next(iter(reasons.items()))
            raise EveryClientFailed(
                f"the run stops in round {round}: every client that was asked failed in the same way;"
                f" {name}: {' '.join(reason.split())}"
            )


def same_refusal(reasons: Mapping[int, str]) -> str:
    """The reason that all of these nodes give; empty if they differ, or one may answer the next time."""
    causes = {cause(reason, str(node)) for node, reason in reasons.items()}
    silent = any(map(is_silence, reasons.values()))
    return next(iter(reasons.values())) if len(causes) == 1 and not silent else ""
