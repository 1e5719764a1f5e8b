"""The settings of the privacy benchmark, chosen by the numpy reference on held-out training samples.

    python benchmarks/privacy/search.py

Never on the test set, and with seeds that the benchmark does not use. Writes
search.json beside this file, line by line, and goes on where it stopped.
"""

import json
from itertools import product
from pathlib import Path

import numpy as np
from data import CLIENTS, DELTA, arrays, flat, searched
from reference import Settings, accuracy, dp_fedavg, noise_multiplier

FILE = Path(__file__).parent / "search.json"
SEEDS = (1000, 1001, 1002)
EPSILONS = (2.0, 8.0)
ROUNDS, COHORT, BATCH = 20, 500, 10
CANDIDATES = {  # values that are averaged; learning rate and epochs; clip norm; server momentum
    "fashion-mnist": ((1, 2), ((0.1, 5), (0.3, 3)), (1.0, 2.0), (0.5, 0.7)),
    "watch": ((1, 4, 10, 20), ((0.3, 5), (1.0, 6)), (1.0, 2.0), (0.0, 0.5, 0.7)),
}


def main() -> None:
    """Try every point of the candidates, for a small and a large epsilon."""
    found = json.loads(FILE.read_text()) if FILE.is_file() else []
    done = {json.dumps(line["tried"]) for line in found}
    for name, candidates in CANDIDATES.items():
        for (pool, (rate, epochs), clip, momentum), epsilon in product(product(*candidates), EPSILONS):
            tried = {
                "data": name, "pool": pool, "epsilon": epsilon, "learning_rate": rate, "epochs": epochs,
                "clip_norm": clip, "server_momentum": momentum,
            }  # fmt: skip
            if json.dumps(tried) in done:
                continue
            noise = noise_multiplier(epsilon, DELTA, -(-ROUNDS * COHORT // CLIENTS))
            settings = Settings(ROUNDS, COHORT, clip, noise, rate, epochs, BATCH, server_momentum=momentum)
            found.append(
                {"tried": tried, "accuracy": [held_out(name, pool, settings, seed) for seed in SEEDS]}
            )
            FILE.write_text("[\n" + ",\n".join(json.dumps(line) for line in found) + "\n]\n")
            print(found[-1], flush=True)


def chosen(name: str) -> dict[str, float]:
    """What has the best accuracy on the samples held out, over all epsilons and seeds."""
    reached: dict[str, list[float]] = {}
    for line in json.loads(FILE.read_text()):
        tried = {key: value for key, value in line["tried"].items() if key not in ("data", "epsilon")}
        if line["tried"]["data"] == name:
            reached.setdefault(json.dumps(tried), []).extend(line["accuracy"])
    best: dict[str, float] = json.loads(max(reached, key=lambda tried: np.mean(reached[tried])))
    return best


def held_out(name: str, pool: int, settings: Settings, seed: int) -> float:
    """Accuracy on the samples held out."""
    federation, chosen_by = searched(name, pool, seed)
    classes = federation.dataset.num_classes
    model = dp_fedavg(arrays(federation), classes, settings, "cyclic", np.random.default_rng(seed))
    return accuracy(model, *flat(chosen_by))


if __name__ == "__main__":
    main()
