"""Asynchronous against synchronous training at equal simulated time, on fleets with a power law of speeds.

    python benchmarks/clock/run.py [FLEET ...]

Each way trains until the same moment of its simulated clock, with as many clients at work at a time; three
seeds. Simulated time does not depend on the machine, so this may run beside anything. Writes results.json,
README.md and arrivals.png beside this file; a fleet that is not named stays as it was.
"""

import json
import statistics
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import about  # noqa: E402

import hedgerow as hr  # noqa: E402
from hedgerow.experiments.config.recipe import load  # noqa: E402

SEEDS, AT_WORK, CLIENTS = (0, 1, 2), 10, 60
FLOPS = 1e8
FLEETS = {
    "alike": (0.0, 0.5, "all devices are as fast"),
    "long tail": (1.1, 0.5, "half are at least 1.9 times as slow, one in twelve ten times"),
    "few classes each": (0.0, 0.05, "all devices are as fast, and their data differ much"),
}
SECONDS = 40.0
ROUNDS = 10_000
WAYS: dict[str, tuple[Any, dict[str, Any]]] = {
    "FedAvg": (hr.fedavg, {}),
    "FedAvg, 3 of 13 left behind": (hr.fedavg, {"over_select": 0.3}),
    "FedBuff, buffer 5": (lambda **parts: hr.fedbuff(5, **parts), {}),
    "FedAsync, mixing 0.3": (lambda **parts: hr.fedasync(0.3, **parts), {}),
}
COLOURS = ("#0072B2", "#56B4E9", "#D55E00", "#009E73")


def measured(fleet: str, way: str, seed: int) -> dict[str, Any]:
    """The accuracy over simulated time of one run, and what it spent."""
    settings = [
        f"seed={seed}", f"data.partition.clients={CLIENTS}", "model.hidden=32", "local.epochs=1",
        "local.time_budget=0.0", "strategy.name=fedavg", f"data.partition.alpha={FLEETS[fleet][1]}",
    ]  # fmt: skip
    experiment = load("unlike", settings)
    federation = experiment.federation()
    make, more = WAYS[way]
    slowdown = FLEETS[fleet][0]
    clock = hr.clock(("pi-4",), ("wifi",), flops_per_example=FLOPS, slowdown=slowdown)
    strategy = make(sampling=hr.uniform(AT_WORK), local=experiment.local)
    moments, accuracies, joules, trained, stale = [], [], 0.0, 0, 0.0
    for result in hr.simulate(
        experiment.task(), federation, strategy, rounds=ROUNDS, test=federation.dataset.test, seed=seed,
        clock=clock, evaluate_every=_every(way), **more,
    ):  # fmt: skip
        if result.spent.elapsed > SECONDS:
            break
        joules, trained = joules + result.spent.joules, trained + len(result.cohort)
        stale += sum(result.staleness.values())
        if result.evaluation:
            moments.append(round(result.spent.elapsed, 3))
            accuracies.append(round(result.evaluation["accuracy"], 4))
    return {
        "seconds": moments, "accuracy": accuracies, "joules": round(joules, 1), "answers": trained,
        "staleness": round(stale / max(1, trained), 2), "steps": result.round - 1,
    }  # fmt: skip


def _every(way: str) -> int:
    """Steps from one evaluation to the next, about as many answers for each way."""
    return {"FedAvg": 2, "FedAvg, 3 of 13 left behind": 2, "FedBuff, buffer 5": 4}.get(way, 20)


def final(run: dict[str, Any]) -> float:
    """The mean of the last evaluations of a run, which are noisy one by one."""
    return statistics.fmean(run["accuracy"][-3:]) if run["accuracy"] else 0.1


def page(results: dict[str, Any]) -> str:
    """The results as a page."""
    lines = [
        "# Asynchronous against synchronous, at equal simulated time",
        "",
        f"Fashion-MNIST among {CLIENTS} clients (Dirichlet), an MLP with 32 hidden units, one local"
        f" epoch; {AT_WORK} clients at work at a time; Raspberry Pis 4 on Wi-Fi with {FLOPS:g} operations a"
        f" sample (a CNN's), and a power law of slowness. Test accuracy after {SECONDS:g} simulated seconds,"
        f" the mean of the last three evaluations; {len(SEEDS)} seeds.",
        "",
        "![Accuracy over simulated time](arrivals.png)",
    ]
    for fleet, found in results.items():
        slowdown, alpha, words = FLEETS[fleet]
        exponent = f"exponent {slowdown:g}, " if slowdown else ""
        lines += [
            "",
            f"## {fleet.capitalize()}: {words}",
            "",
            f"{exponent}Dirichlet {alpha:g}.".capitalize(),
            "",
        ]
        lines += [
            "| | accuracy | of each seed | steps | answers | mean staleness | energy |",
            "|---" * 7 + "|",
        ]
        for way, runs in found["ways"].items():
            ends = [final(run) for run in runs]
            mean = {
                key: statistics.fmean(run[key] for run in runs)
                for key in ("steps", "answers", "staleness", "joules")
            }
            lines.append(
                f"| {way} | {100 * statistics.fmean(ends):.1f} % |"
                f" {', '.join(f'{100 * end:.1f}' for end in ends)} | {mean['steps']:.0f} |"
                f" {mean['answers']:.0f} | {mean['staleness']:.1f} | {mean['joules'] / 1e3:.1f} kJ |"
            )
        lines += ["", about.line(found["about"])]
    return "\n".join(lines) + "\n"


def draw(results: dict[str, Any]) -> None:
    """The figure: one panel for each fleet, a line for each way, a band over the seeds."""
    import matplotlib as mpl

    mpl.use("Agg")
    import numpy as np
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(results), figsize=(4.2 * len(results), 3.4), sharey=True)
    moments = np.linspace(2, SECONDS, 60)
    for panel, (fleet, found) in zip(np.atleast_1d(panels), results.items(), strict=True):
        for colour, (way, runs) in zip(COLOURS, found["ways"].items(), strict=True):
            curves = np.array([_at(run, moments) for run in runs])
            panel.plot(moments, 100 * curves.mean(0), color=colour, label=way)
            panel.fill_between(
                moments, 100 * curves.min(0), 100 * curves.max(0), color=colour, alpha=0.15, lw=0
            )
        panel.set_title(f"{fleet}: {FLEETS[fleet][2]}", fontsize=7)
        panel.set_xlabel("simulated seconds")
        panel.grid(alpha=0.3)
    np.atleast_1d(panels)[0].set_ylabel("test accuracy (%)")
    np.atleast_1d(panels)[-1].legend(fontsize=7, loc="lower right")
    figure.tight_layout()
    figure.savefig(HERE / "arrivals.png", dpi=110)


def _at(run: dict[str, Any], moments: Any) -> Any:
    """The last accuracy known at each moment, smoothed over three evaluations."""
    import numpy as np

    known = np.array([0.1, *run["accuracy"]])
    smooth = np.array([known[max(0, k - 2) : k + 1].mean() for k in range(len(known))])
    return smooth[np.searchsorted(run["seconds"], moments, side="right")]


def main() -> None:
    """Measure the fleets that are named, or all."""
    file = HERE / "results.json"
    results = json.loads(file.read_text()) if file.is_file() else {}
    for fleet in sys.argv[1:] or FLEETS:
        ways: dict[str, Any] = {}
        for way in WAYS:
            ways[way] = [measured(fleet, way, seed) for seed in SEEDS]
            print(fleet, way, [round(final(run), 3) for run in ways[way]], flush=True)
        results[fleet] = {"about": about.about("torch", "numpy"), "ways": ways}
        results = {name: results[name] for name in FLEETS if name in results}
        file.write_text(json.dumps(results) + "\n")
        (HERE / "README.md").write_text(page(results))
        draw(results)


if __name__ == "__main__":
    main()
