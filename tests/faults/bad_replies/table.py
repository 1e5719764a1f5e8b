"""The table of docs/bad-replies.md: `python -m tests.faults.bad_replies.table` prints it."""

from collections.abc import Callable

from hedgerow.simulation.flower import task_identity
from tests.faults.bad_replies import runs
from tests.faults.bad_replies.kinds import KINDS, LIE

HEAD = "| reply | what becomes of it | distance | accuracy |\n|---|---|---|---|"


def row(name: str, bad: runs.Run, three: runs.Run) -> str:
    """What was measured of one kind."""
    dropped = any(runs.LIAR in result.dropped for result in bad.results)
    verdict = "dropped" if KINDS[name].says != LIE else "bounded" if dropped else "counts"
    return f"| {name} | {verdict} | {runs.damage(bad, three):.2f} | {bad.accuracy:.3f} |"


def rows(found: Callable[[str], tuple[runs.Run, runs.Run]]) -> list[str]:
    """Of all kinds."""
    return [row(name, *found(name)) for name in KINDS]


if __name__ == "__main__":
    with task_identity(1):
        print(HEAD, *rows(lambda name: runs.of_kind(KINDS[name])), sep="\n")
