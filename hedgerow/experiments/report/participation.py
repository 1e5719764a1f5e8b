"""How much clients took part in runs with a time budget: the shares of their local steps that they took."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from hedgerow.experiments.report.results import Group
from hedgerow.experiments.runs.recorded import Run

_MOST_NAMED = 40
"""With more clients, they are not listed one by one."""

_EVERYBODY = "all clients"


@dataclass(frozen=True)
class Part:
    """The part that some clients took.

    Attributes:
        who: the class of their devices, or a client's name.
        clients: number of clients, in all seeds together.
        answers: how many of their answers counted.
        mean: of the shares of steps, over these answers.
        least: the smallest share.
        most: the largest share.
    """

    who: str
    clients: int
    answers: int
    mean: float
    least: float
    most: float


def participation(group: Group) -> list[Part]:
    """The parts of each class of devices, or if there are no classes of each client; the smallest mean first.

    Empty without a time budget, or if no client's own share is known, as under a mask.
    """
    shares: dict[str, list[float]] = {}
    members: dict[str, set[tuple[int, str]]] = {}
    class_of = _classes(group)
    for run in group.runs:
        for client, taken in _by_client(run).items():
            who = class_of(run.seed, client)
            shares.setdefault(who, []).extend(taken)
            members.setdefault(who, set()).add((run.seed, client))
    parts = [
        Part(who, len(members[who]), len(taken), statistics.fmean(taken), min(taken), max(taken))
        for who, taken in shares.items()
    ]
    return sorted(parts, key=lambda part: (part.mean, part.who))


def table(parts: Sequence[Part]) -> str:
    """The parts as an HTML table."""
    head = "".join(f"<th>{name}</th>" for name in ("", "clients", "answers", "steps (%)", "least", "most"))
    rows = (
        (escape(p.who), p.clients, p.answers, *(f"{100 * share:.1f}" for share in (p.mean, p.least, p.most)))
        for p in parts
    )
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<table class="figures"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def mean_share(runs: Sequence[Run]) -> float | None:
    """The mean share of steps over rounds and seeds, each sample counting the same; None if not known."""
    taken = [line.get("metrics", {}).get("steps_taken") for run in runs for line in run.trained]
    known = [float(share) for share in taken if share is not None]
    return statistics.fmean(known) if known else None


def _by_client(run: Run) -> Mapping[str, list[float]]:
    found: dict[str, list[float]] = {}
    for line in run.trained:
        for client, share in line.get("steps_taken", {}).items():
            found.setdefault(client, []).append(float(share))
    return found


def _classes(group: Group) -> Callable[[int, str], str]:
    """What `(seed, client)` is listed as: the class of its device, its name, or all clients."""
    from hedgerow.experiments.config.parse import parse

    run = group.first
    names = {client for run in group.runs for client in _by_client(run)}
    alone = len(names) <= _MOST_NAMED
    devices = None
    if "devices" in run.config:
        try:
            devices = parse(run.config, str(run.folder)).described_devices()
        except (ValueError, ImportError):  # described by a package that is not installed here
            devices = None

    def class_of(seed: int, client: str) -> str:
        described = "" if devices is None else devices.describe(seed, client)[0]
        return described or (client if alone else _EVERYBODY)

    return class_of
