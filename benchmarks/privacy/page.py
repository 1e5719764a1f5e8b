"""The page of the privacy benchmark, from results.json."""

import statistics
import sys
from collections import Counter
from itertools import product
from math import sqrt
from pathlib import Path
from typing import Any

from data import CLIENTS
from search import CANDIDATES, ROUNDS, chosen

sys.path.insert(0, str(Path(__file__).parent.parent))

import about

EPSILONS = (2.0, 4.0, 8.0)
CHOSEN = {name: chosen(name) for name in CANDIDATES}
SYSTEMS = ("reference", "central", "secure", "secure, 40 % uncounted", "reference, loud")
PAIRS = (("central", "reference"), ("secure", "central"), ("secure, 40 % uncounted", "central"))
"""Whose difference is shown."""


def mean(values: list[float]) -> str:
    """Mean and standard error, in per cent; of one value, that alone."""
    spread = f" ± {100 * error(values):.2f}" if len(values) > 1 else ""
    return f"{100 * statistics.fmean(values):.2f}{spread}"


def error(values: list[float]) -> float:
    """Standard error of the mean, of two values or more."""
    return statistics.stdev(values) / sqrt(len(values))


Reached = dict[tuple[str, float, str], dict[int, float]]
"""Data, epsilon and system -> seed -> accuracy."""


def page(results: dict[str, Any]) -> str:
    """The tables."""
    reached: Reached = {}
    noises, sent = {}, {}
    for run in results["runs"]:
        key = (run["data"], run["epsilon"], run["system"])
        reached.setdefault(key, {})[run["seed"]] = run["accuracy"]
        noises[key], sent[key] = run["noise"], run["bytes_up"]
    values = next(run["values"] for run in results["runs"] if run["data"] == "watch" and "values" in run)
    counts = sorted({len(by) for by in reached.values()})
    seeds = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
    facts = {"rounds": ROUNDS, "clients": CLIENTS, "seeds": seeds, "pool": CHOSEN["watch"]["pool"]}
    lines = [TEXT.format(values=values, **facts), *table(reached)]
    lines += ["## Noise, and bytes", "", NOISE.strip(), ""]
    names = [system for system in SYSTEMS if system != "reference"]
    lines += ["| data | epsilon | " + " | ".join(names) + " | bytes, central | bytes, secure |"]
    lines.append("|---|---|" + "---|" * (len(names) + 2))
    for name, epsilon in product(CHOSEN, EPSILONS):
        cells = [f"{noises[name, epsilon, system]:.2f}" for system in names]
        cells += [f"{sent[name, epsilon, system]:,.0f}" for system in ("central", "secure")]
        lines.append(f"| {name} | {epsilon:g} | " + " | ".join(cells) + " |")
    masks = results["masks"]
    made = Counter(run["commit"] for run in results["runs"])
    commits = " and ".join(f"{commit} ({number} runs)" for commit, number in made.items())
    equal = "the same model, bit for bit" if masks["equal"] else "ANOTHER MODEL"
    lines += [
        "",
        "Secure sums are made by the shortcut of the simulation, without masks. The whole protocol with",
        f"masks gives {equal} (watch, {masks['clients']} clients, {masks['rounds']} rounds).",
        "",
        about.line({**results, "commit": commits}),
        "`make bench-privacy` writes this page.",
        "",
    ]
    return "\n".join(lines)


def table(reached: Reached) -> list[str]:
    """Accuracy, in per cent."""
    differences = [f"{one} - {other}" for one, other in PAIRS]
    lines = ["| data | epsilon | " + " | ".join([*SYSTEMS, *differences]) + " |"]
    lines.append("|---|---|" + "---|" * (len(SYSTEMS) + len(PAIRS)))
    for name in CHOSEN:
        by_epsilon = [{system: reached[name, e, system] for system in SYSTEMS} for e in EPSILONS]
        for epsilon, by in zip(EPSILONS, by_epsilon, strict=True):
            cells = [mean(list(by[system].values())) for system in SYSTEMS]
            cells += [difference([by[one]], [by[other]]) for one, other in PAIRS]
            lines.append(f"| {name} | {epsilon:g} | " + " | ".join(cells) + " |")
        of = {system: [by[system] for by in by_epsilon] for system in SYSTEMS}
        cells = [mean(averages(of[system])) for system in SYSTEMS]
        cells += [difference(of[one], of[other]) for one, other in PAIRS]
        lines.append(f"| {name} | mean | " + " | ".join(cells) + " |")
    return [*lines, ""]


def averages(by_epsilon: list[dict[int, float]]) -> list[float]:
    """The mean over epsilons, for each seed that has all."""
    seeds = sorted(set.intersection(*(set(by) for by in by_epsilon)))
    return [statistics.fmean(by[seed] for by in by_epsilon) for seed in seeds]


def difference(one: list[dict[int, float]], other: list[dict[int, float]]) -> str:
    """Mean and standard error of the differences of equal seeds, in points; of the means over epsilons."""
    seeds = sorted(set.intersection(*(set(by) for by in (*one, *other))))
    values = [statistics.fmean(a[seed] - b[seed] for a, b in zip(one, other, strict=True)) for seed in seeds]
    spread = f" ± {100 * error(values):.2f}" if len(values) > 1 else ""
    return f"{100 * statistics.fmean(values):+.2f}{spread}"


TEXT = """# Accuracy with privacy

Accuracy on the test samples in per cent after {rounds} rounds with {clients:,} clients, of which half take
part in a round; delta is clients^-1.1; {seeds} seeds. ± is the standard error of the mean; differences are in
points, and of runs with the same seed.

- `reference`: DP-FedAvg in plain numpy, [reference.py](reference.py); its noise from a closed form.
- `central`: `dp_fedavg`, the server adds the noise. Clients take turns, so that no luck of the draw counts.
- `secure`: `secure_dp_fedavg`, Skellam noise in 16 bits, where the noise of all is counted on but for 5 %,
  by which cohorts differ in size: no client works together with the server, as in the papers.
- `secure, 40 % uncounted`: the same with the default threat model: 20 % of a cohort may be corrupt and 20 %
  may drop out, whose noise is not counted on. So there is more of it than is counted.
- `reference, loud`: the reference with as much noise as there is in those sums.

Fashion-MNIST is the embedded part, 6,000 + 1,000 pictures. The watch data are the 3,453 + 1,012 windows of
ten people; ten are too few for privacy of a person, so that windows are dealt to made-up clients: the figures
are of the method, and not of what protects those ten. The model is logistic regression: on the pictures as
they are, 7,850 values, and on the means of {pool} successive instants of a window, {values} values. That, and
all other settings, were chosen on held-out training samples by the reference ([search.py](search.py),
[search.json](search.json)): the same for all systems and epsilons.
"""

NOISE = """
Noise multipliers of the accounting; of `reference, loud` that of the noise which is there, in clip norms. It
is more than secure's own, because all clients add their share and the accounting counts on 60 % of them, and
because rounding to whole units lengthens a vector. Skellam noise is counted by Renyi divergences, which takes
8 to 11 % more of it than central noise, which is counted by privacy loss distributions.
"""
