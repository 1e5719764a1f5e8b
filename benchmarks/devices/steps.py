"""Times one model's steps on ONNX Runtime, and on torch where it is installed; the two in turn."""

import json
import statistics
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[2])]

import numpy as np  # noqa: E402

from benchmarks.devices.cases import CASES, LOCAL, read, samples, task_of  # noqa: E402
from hedgerow.client.onnx.trainer import OnnxTrainer  # noqa: E402

PAIRS = 15
_WHO: dict[str, Any] = {"seed": 0, "round": 1, "client": "a"}


def measured(folder: Path, name: str) -> dict[str, Any]:
    """Milliseconds a step, and the median of the pairs' ratios."""
    graphs, model = read(folder, name)
    steps = CASES[name][2]
    data = samples(name, steps)
    trainers: dict[str, Any] = {"onnx": OnnxTrainer(graphs)}
    if find_spec("torch") is not None:
        from hedgerow.client.torch.trainer import TorchTrainer

        trainers["torch"] = TorchTrainer(task_of(name))
    one = samples(name, 1)  # after several steps, rounding shows
    deltas = [trainer.fit(model, one, LOCAL, **_WHO).delta for trainer in trainers.values()]
    off = np.linalg.norm(deltas[0] - deltas[-1]) / np.linalg.norm(deltas[-1])
    assert off < 1e-3, f"the two differ by {off:.2g}"
    taken: dict[str, list[float]] = {way: [] for way in trainers}
    for _ in range(PAIRS):
        for way, trainer in trainers.items():
            begun = time.process_time()
            trainer.fit(model, data, LOCAL, **_WHO)
            taken[way].append(1000 * (time.process_time() - begun) / steps)
    found = {way: round(statistics.median(several), 4) for way, several in taken.items()}
    ratios = [a / b for a, b in zip(taken["onnx"], taken.get("torch", []), strict=False)]
    return {
        "parameters": len(model.parameters),
        "train_bytes": len(graphs.train),
        "ms_per_step": found,
        "off": float(f"{off:.2g}"),
        **({"ratio": round(statistics.median(ratios), 3)} if ratios else {}),
    }


if __name__ == "__main__":
    print(json.dumps(measured(Path(sys.argv[1]), sys.argv[2])))
