"""Whether to train clients one after another or side by side, and how many: measured, not guessed."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from hedgerow import checks
from hedgerow.client.cohort.autotune.forecast import UNLIMITED, best_plan
from hedgerow.client.cohort.step import CannotBatch
from hedgerow.types import Fit, LocalTraining, Samples

Clients = Sequence[tuple[str, Samples]]
InLoop = Callable[[Clients, LocalTraining], dict[str, Fit]]
InBatch = Callable[[Clients, LocalTraining, int, int], dict[str, Fit]]
"""(clients, local, batch_clients, min_batch) -> results."""

_BUDGET_SECONDS = 0.8
"""Time limit for measuring each batch width but the first."""

_SLOW_STEP = 0.003
"""Seconds of a step in the loop above which the overhead of calls is negligible. Then, if a narrow batch is
slower than the loop, so is a wide one; and once a wider batch brings no gain, no still wider one does."""

_EVEN = 1.25
"""Clients are split evenly if none takes more than this many times the steps of another."""

_TOLERANCE, _TOLERANCE_OF_ONE = 0.01, 0.1
"""Relative tolerance for the client that agrees best, and for every client. An error in the model's batched
form is seldom below the first."""


_SAVED_AS = {"batch_clients": "at_once", "min_batch": "narrowest", "splittable": "even"}
"""Fields that run folders store under older names."""


@dataclass(frozen=True)
class Choice:
    """How the clients of a run are trained.

    Attributes:
        method: `"loop"` or `"batch"`.
        why: the reason, for people to read.
        batch_clients: clients side by side in a batch; 1 for the loop.
        min_batch: the smallest batch in which a client gets the same bits as in one
            of `batch_clients` clients; a batch never has fewer slots.
        most_steps: a client that takes more steps in a round is trained in the
            loop anyway, because it would end up alone in its batch.
        milliseconds: measured time of one client's step, by the number of clients
            at once; `"1"` is the loop. Empty if nothing was measured.
        device: torch device that they are trained on.
        splittable: whether a client gets the same bits whoever it is trained with and
            all take about as many steps, so that any split among workers will do.

    A run that is resumed must keep its choice, because loop and batch, and two
    machines, agree only up to rounding.

    >>> choice = Choice("batch", "asked for", batch_clients=10, min_batch=2)
    >>> Choice.from_json(choice.to_json()) == choice
    True
    """

    method: str
    why: str
    batch_clients: int = 1
    min_batch: int = 1
    most_steps: int = UNLIMITED
    milliseconds: dict[str, float] = field(default_factory=dict)
    device: str = "cpu"
    splittable: bool = False

    def __post_init__(self) -> None:
        checks.one_of(["loop", "batch"], method=self.method)
        checks.whole(1, batch_clients=self.batch_clients)
        checks.whole(1, self.batch_clients, min_batch=self.min_batch)

    def to_json(self) -> dict[str, Any]:
        """The choice as JSON values, as a run's folder stores it."""
        return {_SAVED_AS.get(name, name): value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> "Choice":
        """Undo `to_json`.

        Raises:
            TypeError: there is an unknown field.
            ValueError: a value is out of range.
        """
        names = {short: name for name, short in _SAVED_AS.items()}
        return cls(**{names.get(key, key): value for key, value in saved.items()})


def choose(
    clients: Clients,
    steps: Sequence[int],
    local: LocalTraining,
    loop: InLoop,
    batch: InBatch,
    widths: Sequence[int],
    *,
    timed: bool,
    bits: bool,
    clock: Callable[[], float],
) -> Choice:
    """Choose how to train, by timing a few steps of some clients.

    Args:
        clients: one or two for whose data the model works.
        steps: the number for each client of a round.
        local: how they train.
        loop: trains clients one after another.
        batch: trains them side by side.
        widths: numbers of clients at once to try, ascending.
        timed: compare with the loop, and choose it if it is as fast. Otherwise the
            largest width is chosen.
        bits: whether a client must get the same bits whoever it is trained with.
        clock: returns seconds.

    Raises:
        CannotBatch: the batch does not compute what the loop computes, or
            a client's bits depend on who it is trained with.
    """
    short = replace(local, epochs=1)
    size = local.batch_size or max(len(data) for _, data in clients)
    splittable = bits and max(steps) <= _EVEN * min(steps)
    ragged = _cut(clients, 2 * size + size // 2)
    _agree(ragged, short, loop, batch)
    if not timed:
        min_batch = _min_batch(_cut(clients, size + size // 2), short, batch, widths[-1]) if bits else 2
        return Choice("batch", "asked for", widths[-1], min_batch, splittable=splittable)
    one = _cut(clients[:1], 2 * size)
    step = _time(lambda: loop(one, short), one, size, clock)
    count = max(1, min(10, int(0.01 / step)))
    several = _cut(clients, count * size)
    alone = _time(lambda: loop(several, short), several, size, clock)
    measured: dict[int, float] = {}
    previous = math.inf
    for width in widths:
        if measured and 2 * width * count * step > _BUDGET_SECONDS:
            break
        crowd = _repeated(several, width)
        run = partial(batch, crowd, short, width, 1)
        now = _time(run, crowd, size, clock)
        if now > previous and step <= _SLOW_STEP:  # what else the machine did may have slowed it down
            now = min(now, _time(run, crowd, size, clock))
        measured[width] = now
        if now > 1.2 * previous or (step > _SLOW_STEP and now > min(alone, 0.98 * previous)):
            break
        previous = now
    times = {"1": alone, **{str(width): seconds for width, seconds in measured.items()}}
    milliseconds = {width: round(1000 * seconds, 3) for width, seconds in times.items()}
    batch_clients, most_steps, ratio = best_plan(steps, alone, measured)
    if ratio > 0.95:
        return Choice("loop", "a batch would not be faster", milliseconds=milliseconds)
    min_batch = _min_batch(_cut(clients, size + size // 2), short, batch, batch_clients) if bits else 2
    why = f"{1 / ratio:.1f} times as fast as the loop"
    return Choice("batch", why, batch_clients, min_batch, most_steps, milliseconds, splittable=splittable)


def _agree(some: Clients, local: LocalTraining, loop: InLoop, batch: InBatch) -> None:
    """Check that batch and loop agree up to rounding, with plain SGD, which does not amplify it.

    Where rounding decides a maximum or a ReLU, a single client's training may
    diverge from the loop's; an error in the batched form shows in every client.
    """
    plain = LocalTraining(
        learning_rate=local.learning_rate, batch_size=local.batch_size, clip_samples=local.clip_samples
    )
    theirs, ours = loop(some, plain), batch(some, plain, 2, 2)
    apart = {name: _apart(ours[name], fit) for name, fit in theirs.items()}
    least, most = (pick(apart.values(), key=lambda far: far[0]) for pick in (min, max))
    if not least[0] < _TOLERANCE:
        raise CannotBatch(f"{least[1]} after three steps")
    if not most[0] < _TOLERANCE_OF_ONE:
        raise CannotBatch(f"{most[1]} after three steps")


def _apart(together: Fit, alone: Fit) -> tuple[float, str]:
    """The largest relative difference, and a description of it."""
    pairs = {"parameters": (together.delta, alone.delta), "buffers": (together.buffers, alone.buffers)}
    far = [
        (float(np.linalg.norm(a - b)) / max(float(np.linalg.norm(b)), 1e-6), what)
        for what, (a, b) in pairs.items()
    ]
    found = [(ratio, f"in a batch its {what} differ by {100 * ratio:.2g} %") for ratio, what in far]
    ours, theirs = together.metrics["loss"], alone.metrics["loss"]
    ratio = abs(ours - theirs) / max(1.0, abs(theirs))
    found.append((ratio, f"in a batch its loss is {ours:g}, alone {theirs:g}"))
    # NaN counts as the largest.
    return max(found, key=lambda each: (math.isnan(each[0]), each[0]))


def _min_batch(some: Clients, local: LocalTraining, batch: InBatch, batch_clients: int) -> int:
    """The smallest batch in which a client gets the same bits as in a full batch, in any slot."""
    crowd = _repeated(some, batch_clients)
    full = batch(crowd, local, batch_clients, batch_clients)
    moved = batch(crowd[::-1], local, batch_clients, batch_clients)
    if not all(_equal(full[name], moved[name]) for name in full):
        raise CannotBatch("in a batch a client's last bits depend on the other clients")
    # Not 1: torch computes the product of a single matrix differently from a batched product.
    pair = batch(crowd[:2], local, 2, 2)
    return 2 if all(_equal(fit, full[name]) for name, fit in pair.items()) else batch_clients


def _equal(a: Fit, b: Fit) -> bool:
    return np.array_equal(a.delta, b.delta) and np.array_equal(a.buffers, b.buffers)


def _cut(clients: Clients, samples: int) -> list[tuple[str, Samples]]:
    return [(name, data.take(np.arange(min(len(data), samples)))) for name, data in clients]


def _repeated(some: Clients, width: int) -> list[tuple[str, Samples]]:
    """These clients, repeated until there are `width`, each under its own name."""
    return [(f"{some[i % len(some)][0]} {i // len(some)}", some[i % len(some)][1]) for i in range(width)]


def _time(work: Callable[[], Any], clients: Clients, size: int, clock: Callable[[], float]) -> float:
    """Seconds of one client's step: the shortest of a few runs after a warm-up run."""
    taken: list[float] = []
    while len(taken) < 2 or (len(taken) < 6 and sum(taken) < 0.05):
        start = clock()
        work()
        taken.append(clock() - start)
    return min(taken[1:]) / sum(-(-len(data) // size) for _, data in clients)
