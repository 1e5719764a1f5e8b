"""Write the golden sums: `python tests/golden/make_sums.py`, by hand, if a mean's bits change on purpose."""

from pathlib import Path

import numpy as np

from hedgerow.strategies.aggregates.mean import FixedPointMean

PATH = Path(__file__).parent / "sums.txt"
COHORTS = {"one": 1, "few": 7, "many": 300}
SCALES = {"small": 2.0**-12, "ordinary": 1.0, "at-the-limit": 2.0**15}
VALUES = 24


def added(cohort: str, scale: str) -> FixedPointMean:
    """A cohort summed, from whole numbers over powers of two: exact on every machine."""
    clients = COHORTS[cohort]
    total = FixedPointMean(VALUES, clients)
    i = np.arange(VALUES, dtype=np.int64)
    for client in range(clients):
        mixed = (i * i * 7919 + i * client * 104_729 + client * 31) % 2003 - 1001
        weight = client % 5 + 1 if scale != "ordinary" else (client + 1) / 8
        total.add("a", (mixed / 2.0 ** (11 + i % 13) * (SCALES[scale] / clients)).astype(np.float32), weight)
    return total


def sums() -> str:
    """A line for each cohort: its total weight, its fixed-point sum, and the bits of its mean."""
    lines = []
    for cohort in COHORTS:
        for scale in SCALES:
            total = added(cohort, scale)
            fixed, mean = total.fixed.astype("<i8").tobytes().hex(), total.result().astype("<f4")
            lines.append(f"{cohort} {scale} {total.weight!r} {fixed} {mean.tobytes().hex()}\n")
    return "".join(lines)


if __name__ == "__main__":
    PATH.write_text(sums())
