"""Which updates give pictures away, and which do not: gradient inversion against what a server sees.

    python benchmarks/inversion/run.py [--only NAME ...]

One step of SGD on Fashion-MNIST with the FedAvg paper's CNN. Writes
`results.json`, this folder's `README.md` and `docs/images/inversion.png`. What
was measured stays in `runs/inversion`, so that a run which was stopped goes on;
a row of `results.json` with as many seeds and targets is not measured again.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE.parent)]

import about  # noqa: E402

from benchmarks.inversion.attack import Effort  # noqa: E402
from benchmarks.inversion.cases import (  # noqa: E402
    Attacker,
    Found,
    harder,
    joined,
    plain,
    private,
    ring_vectors,
    secure_sum,
)
from benchmarks.inversion.second_order import SecondOrder  # noqa: E402
from benchmarks.inversion.seen import Victim, ordered  # noqa: E402
from hedgerow.datasets import load_dataset  # noqa: E402
from hedgerow.privacy.planning import solve  # noqa: E402
from hedgerow.strategies import float32, quantize, top_k  # noqa: E402

EPSILON, DELTA = 8.0, 1e-5
ROUNDS, EXPECTED, POPULATION = 100, 10, 6000
ONE = (Effort(starts=2, feature_steps=200, gradient_steps=30),)
MANY = (Effort(starts=8, feature_steps=250),)
SMALL = tuple(
    Effort(starts=8, feature_steps=300, gradient_steps=200, total_variation=weight)
    for weight in (0.0003, 0.003, 0.03)
)
PICTURE = ROOT / "docs" / "images" / "inversion.png"
_KEYS = ("true", "found", "psnr", "constant")
PARTS = ROOT / "runs" / "inversion"
CLAIMED = {
    *("plain", "8 bits", "ring vector, not masked", "masked", "sum of 10 clients, 1 picture each"),
    *("epsilon 8", "clipped, no noise", "plain, cnn-small"),
}
"""Rows that more is concluded from: of more seeds and targets than the others."""

SECOND = ("plain, cnn-small, second order", "the same, told maxima and units")
PRIVATE = ("clipped, no noise", "epsilon 8", "epsilon 8, all of the cohort sought")
SHOWN = ("plain", "8 bits", "top 10 %", "masked", "epsilon 8")


def main() -> None:
    """Attack what is not in the results yet, print, and write."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--workers", type=int, default=2, help="processes, one thread each")
    options.add_argument("--only", nargs="*", help="names of rows; all by default")
    options.add_argument("--again", action="store_true", help="measure again what was measured before")
    given = options.parse_args()
    where = about.about("torch", "numpy")  # before any result is written, which makes the commit dirty
    results = json.loads((HERE / "results.json").read_text())
    wanted = [
        name
        for name in (*_cases(1), "epsilon 8")
        if given.only is None or name in given.only
        if given.again or not _done(results["cases"].get(name, {}), name)
    ]
    with ProcessPoolExecutor(given.workers, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        parts = {
            (name, seed): pool.submit(_part, name, targets, seed, where["commit"], given.again)
            for name in wanted
            for seeds, targets in [_size(name)]
            for seed in range(seeds)
        }
        for name in wanted:
            seeds, targets = _size(name)
            measured = [parts[name, seed].result() for seed in range(seeds)]
            for row in PRIVATE if name == "epsilon 8" else (name,):
                found = joined([_found(part, row) for part in measured])
                commits = sorted({str(part["commit"]) for part in measured})
                results["cases"][row] = {
                    **found.summary(), "seeds": seeds, "targets": targets, "commit": ", ".join(commits)
                }  # fmt: skip
            if name == "epsilon 8":
                results["private"] = json.loads(str(measured[0]["settings"]))
            results |= where
            (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")
            (HERE / "README.md").write_text(page(results))
    files = {name: _file(name if name in _cases(1) else "epsilon 8", 0) for name in SHOWN}
    if all(file.is_file() for file in files.values()):
        draw({name: _found(np.load(file), name) for name, file in files.items()}, PICTURE)


def _size(name: str) -> tuple[int, int]:
    """Seeds and clients attacked with each."""
    if name == "epsilon 8" or name in CLAIMED:
        return 2, 4
    return (2, 2) if name in SECOND else (1, 3)


def _done(row: Mapping[str, Any], name: str) -> bool:
    return (row.get("seeds"), row.get("targets")) == _size(name)


def _file(name: str, seed: int) -> Path:
    return PARTS / f"{name.replace(' ', '-')}-{seed}-of-{_size(name)[1]}.npz"


def _part(name: str, targets: int, seed: int, commit: str, again: bool) -> dict[str, Any]:
    """What one seed of a case finds, measured or from its file."""
    file = _file(name, seed)
    if again or not file.is_file():
        extra: dict[str, Any] = {"commit": commit}
        if name == "epsilon 8":
            settings, found = _private(ROUNDS, targets, seed)
            extra["settings"] = json.dumps(settings)
        else:
            found = {name: _cases(targets)[name](seed)}
        for row, values in found.items():
            print(f"{row}, seed {seed}", json.dumps(values.summary()), flush=True)
            extra |= {f"{row} {key}": np.array(getattr(values, key)) for key in _KEYS}
        PARTS.mkdir(parents=True, exist_ok=True)
        with file.with_suffix(".part").open("wb") as out:
            np.savez_compressed(out, **extra)
        file.with_suffix(".part").replace(file)
    with np.load(file) as kept:
        return dict(kept)


def _found(part: Mapping[str, Any], row: str) -> Found:
    return Found(**{key: list(part[f"{row} {key}"]) for key in _KEYS})


def _cases(targets: int) -> dict[str, Callable[[int], Found]]:
    train = load_dataset("fashion-mnist").train
    one, hard = Attacker(Victim(), ONE), Attacker(Victim(), harder(ONE))
    many, small = Attacker(Victim(), MANY), Attacker(Victim("cnn-small"), SMALL)

    second = SecondOrder(Victim("cnn-small"))

    def updates(attacker: Attacker | SecondOrder, pipeline: Any, each: int = 1) -> Callable[[int], Found]:
        return lambda seed: plain(attacker, ordered(train, seed), pipeline, targets, each, seed)

    def rings(attacker: Attacker, masks: bool) -> Callable[[int], Found]:
        return lambda seed: ring_vectors(attacker, ordered(train, seed), 10, targets, seed, masks=masks)

    def sums(clients: int, each: int) -> Callable[[int], Found]:
        return lambda seed: secure_sum(many, ordered(train, seed), clients, each, seed)

    return {
        "plain": updates(one, float32()),
        "8 bits": updates(one, quantize(8)),
        "4 bits": updates(one, quantize(4)),
        "top 10 %": updates(one, top_k(0.1)),
        "top 1 %": updates(one, top_k(0.01)),
        "plain, 4 pictures": updates(many, float32(), 4),
        "8 bits, 4 pictures": updates(many, quantize(8), 4),
        "plain, cnn-small": updates(small, float32()),
        "plain, cnn-small, second order": updates(second, float32()),
        "the same, told maxima and units": updates(replace(second, told=True), float32()),
        "ring vector, not masked": rings(one, False),
        "masked": rings(hard, True),
        "sum of 10 clients, 1 picture each": sums(10, 1),
        "sum of 50 clients, 1 picture each": sums(50, 1),
        "sum of 10 clients, 60 pictures each": sums(10, 60),
        "sum of 100 clients, 10 pictures each": sums(100, 10),
    }


def _private(rounds: int, targets: int, seed: int) -> tuple[dict[str, Any], dict[str, Found]]:
    noise = solve(epsilon=EPSILON, delta=DELTA, rounds=rounds, rate=EXPECTED / POPULATION).noise_multiplier
    attacked = [int(number) for number in np.linspace(1, rounds, targets).round()]
    one, many = (Attacker(Victim(), harder(effort)) for effort in (ONE, MANY))
    pictures = ordered(load_dataset("fashion-mnist").train, 100 + seed)
    seen = private(one, many, pictures, noise, EXPECTED, POPULATION, attacked, rounds, seed, sought=2)
    settings = {
        "rounds": rounds, "clients_per_round": EXPECTED, "population": POPULATION,
        "noise_multiplier": round(noise, 4), "delta": DELTA, "epsilon": round(seen.epsilon, 3),
        "attacked": attacked,
    }  # fmt: skip
    return settings, dict(zip(PRIVATE, (seen.clipped, seen.alone, seen.released), strict=True))


def page(results: dict[str, Any]) -> str:
    """The results for a reader."""
    order = [*_cases(1), *PRIVATE]
    rows = [
        f"| {name} | {case['pictures']} | {case['median_psnr_db']:.1f} dB"
        f" | {case['median_constant_db']:.1f} dB | {case['largest_gain_db']:+.1f} dB | {case['recovered']} |"
        f" {case['seeds']} | {case['commit']} |"
        for name, case in sorted(results["cases"].items(), key=lambda row: order.index(row[0]))
    ]
    run = results["private"]
    return "\n".join(
        [
            "# Pictures from updates",
            "",
            "Gradient inversion (`attack.py`) against what a server sees of real rounds (`seen.py`): one step"
            " of SGD, Fashion-MNIST, `cnn-fedavg` unless another model is named. The attacker knows the"
            " model, the labels and the number of pictures. PSNR is that of the reconstruction closest to"
            " each picture.",
            "",
            "| what is attacked | pictures | PSNR, median | best constant, median | most above it"
            " | above 20 dB | seeds | commit |",
            "|---|---|---|---|---|---|---|---|",
            *rows,
            "",
            "The best constant is the one grey that comes closest to a picture: what its brightness alone"
            " gives, and up to 20 dB for a picture that is nearly black. So below 12 dB in the median, and no"
            " more than a few dB above the constant for any picture, is nothing.",
            "",
            "*masked*: the vector of one client of ten, read as if it had no mask. A sum is what secure"
            " aggregation lets out; it is attacked on behalf of every picture in it. The quantiser is so fine"
            " that it hides nothing.",
            "",
            "*cnn-small*: eight starts and three amounts of smoothing, of which what comes closest counts."
            " *Second order*: Levenberg-Marquardt on what the hidden layer was given, which is known, and the"
            " gradients of both convolutions (`second_order.py`), 20 steps from each of two starts. In the"
            " last of these rows the attacker is told which of four values each maximum was, and which units"
            " were on.",
            "",
            f"*epsilon 8*: `dp_fedavg`, clients with one picture each, {run['clients_per_round']} of"
            f" {run['population']:,} in each of {run['rounds']} rounds, clip norm 0.3, noise multiplier"
            f" {run['noise_multiplier']:g}: epsilon {run['epsilon']:g} at delta {run['delta']:g}, by its"
            f" ledger. One client each of the rounds {', '.join(map(str, run['attacked']))} with each seed:"
            " the attacker is told what all others have added, and takes it off what was released; and, in"
            " the last row, without that, against every picture of the cohorts of the first two. Of two"
            " amounts of smoothing, what comes closest counts.",
            "",
            about.line(results),
            "`make bench-inversion` writes this page.",
            "",
        ]
    )


def draw(found: dict[str, Found], file: Path, pictures: int = 3) -> None:
    """Pictures in columns: the true one, and what was found in each case; its PSNR beneath.

    The private case has pictures of its own, from the run's rounds, which stand in a row above it.
    """
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    same, last = SHOWN[:-1], found[SHOWN[-1]]
    rows: list[tuple[str, list[Any], list[float] | None]] = [
        ("original", found["plain"].true, None),
        *((name, found[name].found, found[name].psnr) for name in same),
        ("original", last.true, None),
        (f"{SHOWN[-1]}, all\nothers known", last.found, last.psnr),
    ]
    figure, axes = plt.subplots(len(rows), pictures, figsize=(1.1 * pictures + 1.2, 1.3 * len(rows)))
    for line, (name, shown, psnr) in zip(axes, rows, strict=True):
        for i, axis in enumerate(line):
            axis.set(xticks=[], yticks=[])
            axis.imshow(shown[i][0], cmap="gray", vmin=0, vmax=1)
            if psnr is not None:
                axis.set_xlabel(f"{psnr[i]:.1f} dB", fontsize=8, labelpad=2)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    figure.tight_layout(pad=0.4)
    figure.savefig(file, dpi=90)


if __name__ == "__main__":
    main()
