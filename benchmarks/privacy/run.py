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
from page import CHOSEN, EPSILONS, SYSTEMS, page
from reference import Settings, accuracy, dp_fedavg, noise_multiplier
from search import BATCH, COHORT, ROUNDS

import hedgerow as hr
from hedgerow.models import build

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import about  # noqa: E402

FILE = HERE / "results.json"
RANGE = {"fashion-mnist": 0.125, "watch": 0.25}
"""`value_range` in clip norms: less than it, and the sums of so many values would be of coarser units."""

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
    return sqrt(noise.skellam(values).variance * COHORT / noise.min_honest) / noise.skellam(None).l2


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


def measured(job: Job, commit: str) -> dict[str, Any]:
    """One run, as a line of results.json."""
    name, epsilon, system, seed = job
    begun = time.process_time()
    if system.startswith("reference"):
        run = reference(name, epsilon, seed, loud="loud" in system)
    else:
        run = hedgerow(system, name, epsilon, seed)
    line = {**dict(zip(KEYS, job, strict=True)), **run}
    return {**line, "commit": commit, "cpu_seconds": round(time.process_time() - begun, 2)}


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
    commit = about.about()["commit"]
    with ProcessPoolExecutor(given.workers, mp_context=get_context("spawn")) as pool:
        for done in as_completed([pool.submit(measured, job, commit) for job in todo]):
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


if __name__ == "__main__":
    main()
