"""Accuracy with privacy: Hedgerow against a numpy reference, and secure aggregation against a trusted server.

    python benchmarks/privacy/run.py [--seeds 16]

For each data set and epsilon: DP-FedAvg by `reference.py`, by `dp_fedavg`, and
by `secure_dp_fedavg` with Skellam noise in 16 bits; see README.md. Each
has the least noise that its epsilon takes over all rounds: of the reference by
a closed form, of the others by Hedgerow's accountant. Writes results.json beside
this file run by run, goes on where it stopped, and writes README.md.
"""

import argparse
import json
import os
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import product
from math import sqrt
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # a process has one thread

import numpy as np
from data import CLIENTS, DELTA, arrays, federation, flat
from reference import Settings, accuracy, dp_fedavg, noise_multiplier
from search import BATCH, COHORT, GRID, ROUNDS, chosen

import hedgerow as hr
from hedgerow.models import build

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import about  # noqa: E402

FILE = HERE / "results.json"
EPSILONS = (2.0, 4.0, 8.0)
CHOSEN = {name: chosen(name) for name in GRID}
RANGE = {"fashion-mnist": 0.125, "watch": 0.25}
"""`value_range` in clip norms: less than it, and the sums of so many values would be of coarser units."""

SYSTEMS = ("reference", "central", "secure", "secure, 40 % uncounted", "reference, loud")
PAIRS = (("central", "reference"), ("secure", "central"), ("secure, 40 % uncounted", "central"))
"""Whose difference is shown."""

Job = tuple[str, float, str, int]
"""Data, epsilon, system, seed."""


def reference(name: str, epsilon: float, seed: int, *, loud: bool) -> dict[str, Any]:
    """One run of `reference.py`; `loud` has the noise that is in the sums of the default threat model."""
    best = {**CHOSEN[name]}
    data = federation(name, int(best.pop("pool")), seed)
    noise = noise_multiplier(epsilon, DELTA, -(-ROUNDS * COHORT // CLIENTS))
    if loud:
        noise = noise_in_sums(strategy("secure, 40 % uncounted", name, epsilon), data)
    settings = Settings(ROUNDS, COHORT, noise_multiplier=noise, batch_size=BATCH, **best)
    random = np.random.default_rng(seed)
    model = dp_fedavg(arrays(data), data.dataset.num_classes, settings, "cyclic", random)
    reached = accuracy(model, *flat(data.dataset.test))
    return {"accuracy": reached, "noise": noise, "spent": None if loud else epsilon, "bytes_up": None}


def noise_in_sums(planned: hr.Strategy, data: hr.Federation) -> float:
    """Standard deviation of the noise of a whole cohort, in clip norms."""
    noise = planned.release.noise
    values = len(hr.TorchTrainer(task(data)).initial(0).parameters)
    assert noise.skellam is not None
    # With no number of values given, l2 is the clip norm in units.
    return sqrt(noise.skellam(values).variance * COHORT / noise.fewest) / noise.skellam(None).l2


def strategy(system: str, name: str, epsilon: float) -> hr.Strategy:
    """Hedgerow's, calibrated."""
    best = CHOSEN[name]
    local = hr.LocalTraining(
        learning_rate=best["learning_rate"], epochs=int(best["epochs"]), batch_size=BATCH
    )

    def make(noise: float) -> hr.Strategy:
        common: Any = {
            "clip_norm": best["clip_norm"], "noise_multiplier": noise, "delta": DELTA,
            "epsilon": epsilon, "server_momentum": best["server_momentum"],
            "sampling": hr.cyclic(COHORT, population=CLIENTS), "local": local,
        }  # fmt: skip
        if "secure" not in system:
            return hr.dp_fedavg(**common)
        missing = {} if "uncounted" in system else {"corrupt": 0.0, "dropout": 0.05}
        reach = RANGE[name] * best["clip_norm"]
        return hr.secure_dp_fedavg(**common, bits=16, noise="skellam", value_range=reach, **missing)

    return hr.calibrated(make, ROUNDS)


def hedgerow(system: str, name: str, epsilon: float, seed: int) -> dict[str, Any]:
    """One run of Hedgerow."""
    data = federation(name, int(CHOSEN[name]["pool"]), seed)
    planned = strategy(system, name, epsilon)
    rounds = list(
        hr.simulate(
            task(data), data, planned,
            rounds=ROUNDS, test=data.dataset.test, seed=seed, evaluate_every=ROUNDS, trainer="batch",
        )
    )  # fmt: skip
    assert len(rounds) == ROUNDS
    assert not any(result.failed or result.dropped for result in rounds)
    model = rounds[-1].state.model.parameters
    return {
        "accuracy": rounds[-1].evaluation["accuracy"],
        "noise": planned.release.noise.multiplier,
        "spent": rounds[-1].epsilon,
        "values": len(model),
        "bytes_up": statistics.fmean(b for result in rounds for b in result.bytes_up.values()),
    }


def task(data: hr.Federation) -> hr.Task:
    """Logistic regression, as the reference with no hidden layer is."""
    facts = {"input_shape": data.dataset.input_shape, "num_classes": data.dataset.num_classes}
    return hr.Task(model=build("logistic", **facts))


def same_with_masks(clients: int = 60, rounds: int = 2) -> dict[str, Any]:
    """Whether the whole protocol gives the same model as the shortcut, bit for bit, on a small cohort."""
    data = hr.load_dataset("watch").split(hr.iid(clients), 0)
    local = hr.LocalTraining(learning_rate=0.3, batch_size=10)
    planned = hr.secure_dp_fedavg(
        2.0, 4.0, 1e-2, noise="skellam", sampling=hr.cyclic(clients // 2, population=clients), local=local
    )
    models, ways = [], []
    for masks in (False, True):
        *_, last = hr.simulate(task(data), data, planned, rounds=rounds, masks=masks)
        models.append(last.state.model.parameters)
        ways.append(last.secure)
    return {
        "clients": clients, "rounds": rounds, "ways": ways,
        "equal": models[0].tobytes() == models[1].tobytes(),
    }  # fmt: skip


def measured(job: Job) -> dict[str, Any]:
    """One run, as a line of results.json."""
    name, epsilon, system, seed = job
    begun = time.process_time()
    if system.startswith("reference"):
        run = reference(name, epsilon, seed, loud="loud" in system)
    else:
        run = hedgerow(system, name, epsilon, seed)
    line = {**dict(zip(KEYS, job, strict=True)), **run}
    return {**line, "cpu_seconds": round(time.process_time() - begun, 2)}


KEYS = ("data", "epsilon", "system", "seed")


def main() -> None:
    """Run what is not there yet, seed by seed, and write the page."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--seeds", type=int, default=16)
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--only", nargs="*", default=list(SYSTEMS), choices=list(SYSTEMS))
    given = options.parse_args()
    results = json.loads(FILE.read_text()) if FILE.is_file() else {"runs": []}
    known = {tuple(run[key] for key in KEYS) for run in results["runs"]}
    todo = [
        job
        for seed in range(given.seeds)
        for name, epsilon, system in product(CHOSEN, EPSILONS, given.only)
        if (job := (name, epsilon, system, seed)) not in known
    ]
    with ProcessPoolExecutor(given.workers, mp_context=get_context("spawn")) as pool:
        for done in as_completed([pool.submit(measured, job) for job in todo]):
            results["runs"].append(done.result())
            write(results)
            print(results["runs"][-1], flush=True)
    results["masks"] = same_with_masks()
    write(results)
    (HERE / "README.md").write_text(page(results))
    print(page(results))


def write(results: dict[str, Any]) -> None:
    """Save what there is, a run a line."""
    results |= about.about("numpy", "torch", "dp-accounting")
    head = json.dumps({key: value for key, value in results.items() if key != "runs"})
    lines = ",\n".join(json.dumps(run) for run in results["runs"])
    FILE.write_text(f'{head[:-1]}, "runs": [\n{lines}\n]}}\n')


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
    equal = "the same model, bit for bit" if masks["equal"] else "ANOTHER MODEL"
    lines += [
        "",
        "Secure sums are made by the shortcut of the simulation, without masks. The whole protocol with",
        f"masks gives {equal} (watch, {masks['clients']} clients, {masks['rounds']} rounds).",
        "",
        about.line(results),
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


if __name__ == "__main__":
    main()
