"""The page of an engine benchmark, from its results."""

from collections.abc import Callable
from statistics import median
from typing import Any

import former

Run = dict[str, Any]

OURS = "hedgerow"
EXTRA = ("resnet-gn", "gru", "transformer", "cnn-power-law")
WHAT = {
    "mlp": "MLP 784-76-10 (60k parameters)",
    "cnn": "small CNN 5x5x8, 5x5x16, 212 (60k)",
    "lenet": "LeNet 5x5x32, 5x5x64, 512 (582k)",
    "cnn-100k": "small CNN, 100,000 registered clients",
    "resnet-gn": "residual CNN with GroupNorm, 8 layers (78k)",
    "gru": "character GRU, 128 units, 20 characters (64k)",
    "transformer": "transformer, 2 layers of 64, 20 characters (78k)",
    "cnn-power-law": "small CNN, clients of 8 to about 1,000 samples by a power law",
}
# What is asked of our engine: workload, who it is compared with, times as fast.
TARGETS = [
    ("mlp", "flower", 40.0), ("cnn", "flower", 6.0), ("lenet", "flower", 3.5), ("cnn-100k", "flower", 60.0),
    ("mlp", "peer", 4.0), ("cnn", "peer", 1.3), ("lenet", "peer", 1.5),
    ("mlp", "loop-2", 3.0), *((w, "loop-2", 1.0) for w in ("cnn", "lenet", *EXTRA)),
]  # fmt: skip
FRAMEWORKS = ("flower", "pfl-1", "pfl-2", "blazefl-1", "blazefl-2", "fluke")
FIRST_ROUND_SECONDS = 4
ALIKE = 0.08  # largest difference from the median in how far the model moved; half the work gives over 0.11


def round_seconds(run: Run) -> float:
    """Wall seconds of a round: the median of the run's rounds after the first."""
    return float(median(run["round_seconds"]))


def page(results: dict[str, Any], titles: dict[str, str]) -> str:
    """The whole page, as Markdown."""
    runs = [run for run in results["runs"] if "error" not in run]
    about = results["about"]
    parts = [
        "# Simulation engines side by side\n",
        f"{about['machine']}; {about['date']}; commit {about['commit']}; Python {about['python']};"
        f" load before the run {about['load_before']}. `make bench-engines` writes this page.\n",
        METHOD,
    ]
    if any(run["system"] == OURS for run in runs):
        parts += ["## Targets\n", _targets(runs, titles)]
    if results.get("former"):
        of = results["former_about"]
        when = f"{of['date']}; commit {of['commit']}; load before {of['load_before']}.\n"
        parts += [f"## Beside {former.TITLE}\n", when, former.section(results["former"])]
    if "floor" in results:
        parts += ["## What a round takes at least\n", _floor(results["floor"], runs)]
    for workload in WHAT:
        mine = [run for run in runs if run["workload"] == workload]
        if mine:
            parts += [f"## {WHAT[workload]}\n", _table(mine, titles)]
    parts += ["## The same is learned\n", _learned(runs, titles)]
    parts += ["## Not measured, and notes\n", _missing(results, titles)]
    parts += ["## Versions and commands\n", _versions(runs, titles)]
    return "\n".join(parts)


METHOD = """\
Workload: 1,000 registered clients (100,000 where it says so), 100 sampled a round, 50 samples each, batch 10,
one local epoch, learning rate 0.1, FedAvg weighted by samples; synthetic data with a seed, the same arrays
and the same initial model for every system (`workload.py`). One torch thread a process. Nothing is evaluated
in the timed part. With 100,000 clients, those whose numbers differ by a multiple of 1,000 hold the same
samples.

Seconds are of the wall clock: the median of a run's rounds after the first, then the median over the repeats
(least to most in brackets). CPU seconds count all processes of a system. "First round" is the time from the
start of the process to the end of round 1, imports included. Memory is the peak of the sum of the
proportional set sizes of all processes (a page that several share counts once; mapped data files count where
they were read), read when the sum of the resident sizes rises, four times a second. "Ours faster by"
compares runs of the same repeat only.
"""


def _by_repeat(runs: list[Run], system: str, workload: str) -> dict[int, Run]:
    return {r["repeat"]: r for r in runs if r["system"] == system and r["workload"] == workload}


def _ratios(runs: list[Run], system: str, workload: str) -> list[float]:
    ours, theirs = _by_repeat(runs, OURS, workload), _by_repeat(runs, system, workload)
    return [round_seconds(theirs[r]) / round_seconds(ours[r]) for r in sorted(set(ours) & set(theirs))]


def _span(values: list[float], show: Callable[[float], str]) -> str:
    if len(values) == 1:
        return show(values[0])
    return f"{show(median(values))} ({show(min(values))} to {show(max(values))})"


def _seconds(value: float) -> str:
    return f"{value:.3f}" if value < 1 else f"{value:.2f}"


def _times(value: float) -> str:
    return f"{value:.1f}x" if value >= 10 else f"{value:.2f}x"


def _table(runs: list[Run], titles: dict[str, str]) -> str:
    workload = runs[0]["workload"]
    rows = [
        "| system | repeats x rounds | wall s a round | CPU s a round | first round, s | peak MiB |"
        " ours faster by |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, title in titles.items():
        mine = list(_by_repeat(runs, name, workload).values())
        if not mine:
            continue
        ratios = _ratios(runs, name, workload) if name != OURS else []
        rows.append(
            f"| {title} | {len(mine)} x {len(mine[0]['round_seconds'])}"
            f" | {_span([round_seconds(r) for r in mine], _seconds)}"
            f" | {_span([r['cpu_seconds_per_round'] for r in mine], _seconds)}"
            f" | {_span([r['first_round_after_start_seconds'] for r in mine], lambda v: f'{v:.1f}')}"
            f" | {_span([r['peak_pss_mib'] for r in mine], lambda v: f'{v:.0f}')}"
            f" | {_span(ratios, _times) if ratios else ''} |"
        )
    return "\n".join(rows) + "\n"


def _targets(runs: list[Run], titles: dict[str, str]) -> str:
    rows = ["| what | asked | measured | |", "|---|---|---|---|"]

    def row(what: str, asked: str, values: list[float], show: Callable[[float], str], met: bool) -> None:
        rows.append(f"| {what} | {asked} | {_span(values, show)} | {'met' if met else '**missed**'} |")

    for workload, against, least in TARGETS:
        other = _best_framework(runs, workload) if against == "peer" else against
        ratios = _ratios(runs, other, workload)
        if ratios:
            title = f"the fastest framework, {titles[other]}" if against == "peer" else titles[other]
            met = median(ratios) >= least
            row(f"{workload}, against {title}", f"at least {least:g}x", ratios, _times, met)
    for workload in WHAT:
        firsts = [r["first_round_after_start_seconds"] for r in _by_repeat(runs, OURS, workload).values()]
        if firsts:
            met = median(firsts) <= FIRST_ROUND_SECONDS
            asked = f"within {FIRST_ROUND_SECONDS} s"
            row(f"{workload}, end of the first round", asked, firsts, lambda v: f"{v:.1f} s", met)
    few, many = _by_repeat(runs, OURS, "cnn"), _by_repeat(runs, OURS, "cnn-100k")
    more = [round_seconds(many[r]) / round_seconds(few[r]) for r in sorted(set(few) & set(many))]
    if more:
        row("a round with 100,000 clients against 1,000", "at most 1.1x", more, _times, median(more) <= 1.1)
    return "\n".join(rows) + "\n"


def _floor(floor: dict[str, Any], runs: list[Run]) -> str:
    """Why the targets of the MLP and of LeNet are where they are."""
    lines = [FLOOR.format(date=floor["date"], commit=floor["commit"])]
    lines += ["| model | arithmetic | replies | both, on two cores | ours | what is asked for |"]
    lines.append("|---|---|---|---|---|---|")
    for workload in ("mlp", "lenet"):
        asked = [
            f"{least:g}x {'the fastest framework' if against == 'peer' else against}: {seconds:.3f}"
            for name, against, least in TARGETS
            if name == workload
            for other in [_best_framework(runs, workload) if against == "peer" else against]
            for seconds in [median(map(round_seconds, _by_repeat(runs, other, workload).values())) / least]
        ]
        wall = median(round_seconds(r) for r in _by_repeat(runs, OURS, workload).values())
        parts = floor[workload]["arithmetic"], floor[workload]["replies"]
        cells = [f"{value:.3f}" for value in (*parts, sum(parts) / 2, wall)]
        lines.append(f"| {workload} | " + " | ".join([*cells, "; ".join(asked)]) + " |")
    return "\n".join([*lines, ""])


FLOOR = """\
Measured alone by `floor.py` ({date}, commit {commit}): CPU seconds of one core for the arithmetic (of the
MLP, the products with the samples of its first layer; of LeNet, torch's fastest kernels for each layer of one
client, with all that they need at hand: a wide layer that several clients share takes less), and for what is
promised for each of the 100 replies (it is measured, checked, and added to a sum that does not depend on
order). And seconds of a round: both parts split between two cores without loss, with no step taken yet (of
the MLP no second layer, no shuffle, no message; of LeNet no update of a weight); ours; and what the targets
ask for.
"""


def _best_framework(runs: list[Run], workload: str) -> str:
    measured = {name: _ratios(runs, name, workload) for name in FRAMEWORKS}
    return min((n for n in measured if measured[n]), key=lambda n: median(measured[n]), default="")


def _learned(runs: list[Run], titles: dict[str, str]) -> str:
    rows = [
        "| workload | round | loss at the start | " + " | ".join(titles.values()) + " |",
        "|---|---|---|" + "---|" * len(titles),
    ]
    for workload in WHAT:
        mine = [r for r in runs if r["workload"] == workload]
        if mine:
            cells = _learned_cells(mine, workload, list(titles))
            start = f"{mine[0]['initial_loss']:.3f}"
            rows.append(" | ".join([f"| {workload}", str(mine[0]["scored_round"]), start, *cells]) + " |")
    return LEARNED + "\n" + "\n".join(rows) + "\n"


LEARNED = f"""\
After the same number of rounds: loss and accuracy of the global model on 5,000 pooled training samples, and
how far the model has moved from where it started (l2 norm). Cohorts and shuffles differ between systems, so
these differ a little. Training on half the samples moves the model 11 % to 51 % less, by workload; a system
that moved it {ALIKE:.0%} more or less than the median of all systems is marked.
"""


def _learned_cells(runs: list[Run], workload: str, names: list[str]) -> list[str]:
    usual = median(r["moved"] for r in runs)
    cells = []
    for name in names:
        mine = list(_by_repeat(runs, name, workload).values())
        if not mine:
            cells.append("")
            continue
        loss, accuracy, moved = (median(r[key] for r in mine) for key in ("loss", "accuracy", "moved"))
        cell = f"{loss:.3f}, {accuracy:.1%}, {moved:.3f}"
        alike = all(abs(r["moved"] - usual) <= ALIKE * usual for r in mine)
        cells.append(cell if alike else f"**{cell}: not alike**")
    return cells


def _missing(results: dict[str, Any], titles: dict[str, str]) -> str:
    done = {(r["system"], r["workload"]) for r in results["runs"]}
    wanted = {workload for _, workload in done}
    lines = [
        f"- {titles[r['system']]}, {r['workload']}, repeat {r['repeat']}: {r['error']}"
        for r in results["runs"]
        if "error" in r
    ]
    for name, title in titles.items():
        absent = [w for w in WHAT if w in wanted and (name, w) not in done]
        if absent:
            lines.append(f"- {title}: not run on {', '.join(absent)}.")
    return "\n".join(lines) + NOTES


NOTES = """
- BlazeFL asks for Python 3.12; it was installed without that check, and runs.
- fluke was run without torchvision: PyPI's cannot be imported beside a CPU build of torch.
- Flower ran through `run_simulation`, which Flower calls deprecated; the engine is that of `flwr run`,
  without the time that starting a SuperLink takes.
- pfl would evaluate each client of the first round before and after training; this was switched off, as the
  others evaluate nothing. Its users are shuffled when their data set is made, because it does not shuffle.
"""


def _versions(runs: list[Run], titles: dict[str, str]) -> str:
    lines = []
    for name, title in titles.items():
        mine = [r for r in runs if r["system"] == name]
        if mine:
            versions = ", ".join(f"{k} {v}" for k, v in mine[0]["versions"].items())
            lines.append(f"- {title}: {versions}\n  `{mine[0]['command']}`")
    return "\n".join(lines) + "\n"
