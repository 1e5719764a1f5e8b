"""Golden figures of accounting, planning and samplers of noise, over configurations that a seed draws."""

import hashlib
import random
from collections.abc import Callable
from typing import Any

import numpy as np

from hedgerow.privacy import accounting, bands, skellam
from hedgerow.privacy.accounting import counted_delta, counted_epsilon, counted_renyi, epsilon, renyi_epsilon
from hedgerow.privacy.discrete_gaussian import LARGEST_SIGMA, discrete_gaussian, uniform_below
from hedgerow.privacy.events import Cyclic, Event, Gaussian, PoissonSampled, Skellam, to_json
from hedgerow.privacy.planning import solve
from hedgerow.rng import RandomSource, seeded_source
from hedgerow.strategies import cyclic, dp_fedavg, dp_ftrl, poisson, secure_dp_fedavg
from hedgerow.strategies.calibration import noise_multiplier
from tests.mutation.shown import FILES

BOTH = ("zero_out", "replace")


class Words:
    """A seeded source that notes how many words are taken at a time."""

    def __init__(self, name: str) -> None:
        self._source, self.taken = seeded_source(5, name), list[int]()

    def __call__(self, n: int) -> np.ndarray:
        """The next `n` words."""
        self.taken.append(int(n))
        return self._source(n)


def digest(values: np.ndarray) -> str:
    """Of an array's type and bytes."""
    little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    return f"{values.dtype} {values.shape} {hashlib.sha256(little.tobytes()).hexdigest()[:24]}"


def sampled(draw: Callable[[int, RandomSource], np.ndarray], n: int, name: str) -> list[Any]:
    """First numbers, a digest of all, and how the source was used."""
    source = Words(name)
    found = draw(n, source)
    return [found[:5].tolist(), digest(found), source.taken]


def constants() -> dict[str, Any]:
    """Every number that a module of noise, clipping, release or account has a name for."""
    import importlib

    found = {}
    for file in FILES:
        module = importlib.import_module(file.removesuffix(".py").replace("/", "."))
        for name, value in vars(module).items():
            numbers = value if isinstance(value, tuple) and value else (value,)
            plain = all(isinstance(x, int | float) and not isinstance(x, bool) for x in numbers)
            if name.isupper() and plain:
                found[f"{module.__name__}.{name}"] = list(numbers)
    return found


def drawn_event(own: random.Random) -> Gaussian | PoissonSampled | Skellam:
    """Any kind, with plausible numbers."""
    kind = own.choice(("gaussian", "sampled", "skellam"))
    if kind == "skellam":
        l2 = own.uniform(1, 50)
        return Skellam(own.randrange(20, 20_000), l2, own.uniform(1, 3) * l2)
    one = Gaussian(10 ** own.uniform(-0.3, 1))
    return PoissonSampled(10 ** own.uniform(-3, -0.2), one) if kind == "sampled" else one


EDGES = (
    Gaussian(1e-150), Gaussian(0.99e-150), Gaussian(1.05e-150), Gaussian(1e-7),
    PoissonSampled(1.0, Gaussian(2.0)), PoissonSampled(0.3, Gaussian(1e-160)), Skellam(1, 1.0, 1.0),
    PoissonSampled(0.999, Gaussian(0.5)),
)  # fmt: skip


def divergences() -> list[Any]:
    """Of one event of each drawn kind, at some orders."""
    own, orders = random.Random(1), (2, 3, 5, 8, 17, 64)
    events = [*(drawn_event(own) for _ in range(20)), *EDGES]
    return [
        [to_json(e), [accounting._divergence(e, orders, adjacency).tolist() for adjacency in BOTH]]
        for e in events
    ]


def renyi() -> list[Any]:
    """Upper bounds, and the step for the losses, of drawn events in drawn numbers."""
    own, found = random.Random(2), []
    for number in range(20 + len(EDGES)):
        counts = {drawn_event(own): own.randrange(1, 9) for _ in range(own.randrange(1, 4))}
        if number >= 20:
            counts = {EDGES[number - 20]: own.randrange(1, 3)}
        elif number >= 15:
            counts = {Gaussian(10 ** own.uniform(-2.2, -1.5)): 1}  # about where divergences take over
        delta, adjacency = 10 ** own.uniform(-9, -3), own.choice(BOTH)
        events = [event for event, count in counts.items() for _ in range(count)]
        found.append(
            [
                renyi_epsilon(events, delta, adjacency), accounting._interval(counts, delta, adjacency),
                counted_renyi(events[0], 7, delta, adjacency),
                len(accounting._divergences(counts, adjacency)[0]),
            ]
        )  # fmt: skip
    return [*found, renyi_epsilon([], 1e-5), epsilon([], 1e-5)]


def epsilons() -> list[Any]:
    """By losses, or where there is Skellam noise or far too little of any by divergences."""
    own, found = random.Random(3), []
    gaussians = [[Gaussian(own.uniform(0.5, 8))] * own.randrange(1, 9) for _ in range(3)]
    mixed: list[list[Event]] = [
        [PoissonSampled(0.1, Gaussian(1.4)), Gaussian(3.0), PoissonSampled(0.1, Gaussian(1.4))],
        [Gaussian(2.0), Skellam(900, 10.0, 40.0)], [Gaussian(0.002)], [Gaussian(0.02)], [Gaussian(1e-200)],
        [*(Cyclic(Gaussian(3.0), 3, n) for n in (1, 2, 3, 4, 4)), Gaussian(4.0)],
    ]  # fmt: skip
    for events in (*gaussians, *mixed):
        delta = 10 ** own.uniform(-8, -3)
        found.append([epsilon(events, delta, adjacency) for adjacency in BOTH])
    return found


def counted() -> list[Any]:
    """So many equal releases, at several steps for the losses; and the delta of an epsilon."""
    found: list[Any] = []
    for event, count in (
        (Gaussian(2.7), 5),
        (PoissonSampled(0.2, Gaussian(2.3)), 2),
        (Skellam(500, 5.0, 9.0), 4),
    ):
        for adjacency in BOTH:
            found.append([counted_epsilon(event, count, 1e-5, step, adjacency) for step in (1e-4, 3e-3)])
            found.append([counted_delta(event, count, given, adjacency) for given in (0.5, 4.0)])
    found.append(
        [counted_epsilon(event, 1, 1e-5) for event in (Gaussian(0.02), Gaussian(0.005), Gaussian(1e-200))]
    )
    return [*found, counted_delta(Gaussian(0.001), 2, 1e5), counted_delta(Gaussian(0.001), 2, 1e6)]


def counts() -> list[Any]:
    """How often each event counts where cohorts take turns."""
    own, found = random.Random(4), []
    for _ in range(20):
        events: list[Event] = [
            Cyclic(Gaussian(float(own.randrange(1, 3))), own.randrange(1, 5), own.randrange(12))
            for _ in range(own.randrange(1, 25))
        ]
        events += [Gaussian(1.0)] * own.randrange(3)
        found.append(sorted([repr(event), n] for event, n in accounting._counted(events).items()))
    return found


def all_bands() -> list[Any]:
    """The best bands, their error, and the loss and slope beside them."""
    own, found = np.random.default_rng(6), list[Any]()
    for number, rounds in (
        (1, 1),
        (1, 9),
        (2, 1),
        (2, 2),
        (3, 2),
        (5, 4),
        (2, 100),
        (4, 24),
        (6, 60),
        (9, 30),
    ):
        best = bands.optimal_bands(number, rounds)
        near = np.array(best) + own.normal(scale=0.1, size=len(best))
        value, slope = bands._loss(near[1:], rounds)
        near[0] = 1.3
        inverse = bands._inverse(near, rounds)
        found.append(
            [
                best,
                bands.prefix_error(near, rounds),
                value,
                slope.tolist(),
                inverse[:12].tolist(),
                inverse.sum(),
            ]
        )
    return found


def gaussians() -> list[Any]:
    """Numbers of the discrete Gaussian, for every size of sigma."""
    sizes = (
        (1, 500),
        (2, 99),
        (3, 1),
        (7, 0),
        (64, 3000),
        (1000, 60_000),
        (2**37 + 12345, 700),
        (LARGEST_SIGMA, 700),
    )
    made = [
        sampled(lambda n, s, sigma=sigma: discrete_gaussian(sigma, n, s), n, "gaussian") for sigma, n in sizes
    ]
    below = [
        sampled(lambda n, s, bound=bound: uniform_below(bound, n, s), 40, "below")
        for bound in (1, 2, 3, 64, 1000, 2**62 + 2**61 + 1, 2**52)
    ]
    return [*made, *below]


def skellams() -> list[Any]:
    """Skellam numbers, the tables they come from, and where their tails begin."""
    own, found = random.Random(8), list[Any]()
    for variance in (1, 2, 5, 64, 999, 30_000):
        table = skellam._table(variance)
        entries = hashlib.sha256(repr((table.entries, table.whole)).encode()).hexdigest()[:24]
        found.append([entries, digest(table.first_bits)])
        found.append(sampled(lambda n, s, v=variance: skellam.skellam(v, n, s), 400, "skellam"))
    for _ in range(60):
        variance, nats = int(10 ** own.uniform(0, 9)), 10 ** own.uniform(-3, 3)
        found.append([variance, skellam.tail(variance, nats)])
    return found


def plans() -> list[Any]:
    """Each number from the four others; noise and rate in quick cases."""
    plain = {
        "epsilon": 3.0,
        "delta": 1e-5,
        "rounds": 12,
        "noise_multiplier": 4.0,
        "rate": 1.0,
        "interval": 3e-3,
    }
    others: list[dict[str, Any]] = [
        {}, {"adjacency": "replace"}, {"epsilon": 30.0, "noise_multiplier": 0.7},
        {"mechanism": lambda z: Skellam(max(1, int((40 * z) ** 2)), 40.0, 300.0)},
    ]  # fmt: skip
    found = []
    for other in others:
        for wanted in ("epsilon", "delta", "rounds", "noise_multiplier"):
            found.append([wanted, getattr(solve(**{**plain, **other, wanted: None}), wanted)])
    rate = {"epsilon": 1.0, "delta": 1e-5, "rounds": 2, "noise_multiplier": 1.5, "interval": 1e-2}
    return [*found, solve(**rate).rate, solve(**{**rate, "rate": 0.1, "epsilon": None}).epsilon]


def calibrations() -> list[Any]:
    """The noise for a budget, for each way of sampling and each place of the noise."""
    turns = {"sampling": cyclic(50, population=500)}
    makers: list[Callable[[float], Any]] = [
        lambda z: dp_fedavg(0.5, z, 1e-4, 4.0, **turns),
        lambda z: dp_fedavg(0.5, z, 1e-4, 4.0, adjacency="replace", **turns),
        lambda z: dp_ftrl(0.5, z, 1e-4, 2.0, bands=4, **turns),
        lambda z: secure_dp_fedavg(0.5, z, 1e-4, 2.0, noise="skellam", **turns),
        lambda z: dp_fedavg(0.5, z, 1e-3, 3.0, sampling=poisson(50, population=500)),
    ]
    return [[noise_multiplier(make, rounds) for rounds in ((11,) if place < 4 else (2,))]
            for place, make in enumerate(makers)]  # fmt: skip


TABLES: dict[str, Callable[[], Any]] = {
    made.__name__: made
    for made in (
        constants, divergences, renyi, epsilons, counted, counts, all_bands, gaussians, skellams, plans,
        calibrations,
    )
}  # fmt: skip
