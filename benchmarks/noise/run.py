"""Noise from the clients, side by side: what it takes of a client, and what it costs in epsilon.

    python benchmarks/noise/run.py

Cohorts of 100 clients, of whom 20 may be missing; clip norm 0.5; 40 rounds that
a client is in, delta 1e-5. CPU time is that of the noise step alone, in one
process, the median of 15; the first call of a process also makes Skellam's
table. Writes results.json and README.md beside this file.
"""

import json
import statistics
import sys
import time
from math import sqrt
from pathlib import Path

import numpy as np

from hedgerow.privacy.accounting import epsilon
from hedgerow.privacy.events import Gaussian
from hedgerow.privacy.skellam import _table
from hedgerow.strategies import encode
from hedgerow.strategies.transforms.client_noise import (
    distributed_noise,
    randomized_round,
    rounded_norm,
    skellam_event,
    skellam_noise,
    unit_for,
)
from hedgerow.types import Client, Layout, RoundContext

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import about  # noqa: E402

NORM, FEWEST, ROUNDS, DELTA, REPEATS = 0.5, 80, 40, 1e-5, 15
CASES = [
    *(
        (noise, 16, multiplier, n)
        for n in (1_000_000, 1_000)
        for multiplier in (1.0, 4.0)
        for noise in ("gaussian", "skellam")
    ),
    ("skellam", 8, 1.0, 1_000),  # a million rounded values are too long for 8 bits
]


def measured(noise: str, bits: int, multiplier: float, n: int) -> dict[str, object]:
    """One line of the table."""
    unit = unit_for(NORM, multiplier, FEWEST, bits)
    step = (skellam_noise if noise == "skellam" else distributed_noise)(multiplier, NORM, unit, FEWEST, bits)
    if noise == "skellam":
        event = skellam_event(multiplier, NORM / unit, FEWEST, n)
        spent, sigma = epsilon([event] * ROUNDS, DELTA), sqrt(event.variance) * unit
    else:
        share = -(-multiplier * rounded_norm(NORM / unit, n) // sqrt(FEWEST))
        spent, sigma = epsilon([Gaussian(multiplier)] * ROUNDS, DELTA), sqrt(FEWEST) * share * unit
    line = {
        "noise": noise, "bits": bits, "multiplier": multiplier, "values": n, "unit": unit,
        "sigma_over_norm": sigma / NORM, "epsilon": spent,
    }  # fmt: skip
    payload, _ = encode(randomized_round(unit, NORM), np.zeros(n, np.float32), {}, context(n))
    _table.cache_clear()
    seconds = []
    for _ in range(REPEATS + 1):
        begun = time.process_time()
        sent, _ = step.encode(payload, {}, context(n))
        seconds.append(time.process_time() - begun)
    assert sent.values.dtype.itemsize * 8 == bits
    return line | {
        "first_ms": 1000 * seconds[0],
        "noise_ms": 1000 * statistics.median(seconds[1:]),
        "bytes_up": sent.values.nbytes,
    }


def context(n: int) -> RoundContext:
    """A client in a real round: noise from the operating system's generator."""
    return RoundContext(1, 1, Client("a"), Layout.flat(n), 1)


def page(results: dict[str, object]) -> str:
    """The table."""
    lines = [
        "# Noise from the clients",
        "",
        "Cohorts of 100 clients, of whom 20 may be missing; clip norm 0.5; 40 rounds that a client is in,",
        "delta 1e-5. `in the sum` is the noise of a sum over multiplier times norm: rounding to whole units",
        "lengthens vectors, and that is covered. `first` is a process's first round, which makes the table.",
        "",
        "| values | multiplier | noise | bits | in the sum | epsilon | CPU ms | first | bytes |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for r in results["lines"]:
        lines.append(
            f"| {r['values']:,} | {r['multiplier']:g} | {r['noise']} | {r['bits']}"
            f" | {r['sigma_over_norm'] / r['multiplier']:.3f} | {r['epsilon']:.3f} | {r['noise_ms']:.3g}"
            f" | {r['first_ms']:.3g} | {r['bytes_up']:,} |"
        )
    return "\n".join(
        [*lines, "", about.line(results), "`python benchmarks/noise/run.py` writes this page.", ""]
    )


def main() -> None:
    """Measure, and write both files."""
    results = {**about.about("numpy", "dp-accounting"), "lines": [measured(*case) for case in CASES]}
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (HERE / "README.md").write_text(page(results))
    print((HERE / "README.md").read_text())


if __name__ == "__main__":
    main()
