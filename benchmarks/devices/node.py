"""What a device's process loads, and a first step; then it trains and evaluates for some seconds.

It prints a line after the first step, and an empty one once it has also evaluated.
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np

import hedgerow.node.__main__  # noqa: F401  # `hedgerow join` becomes this; of the install, not of this folder
from hedgerow.client.onnx.trainer import OnnxTrainer

sys.path[:0] = [str(Path(__file__).resolve().parents[2])]

from benchmarks.devices.cases import BATCH, LOCAL, read, samples  # noqa: E402


def age() -> float:
    """Seconds since this process started."""
    started = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    running = float(Path("/proc/uptime").read_text().split()[0])
    return running - int(started) / 100


def main() -> None:
    """Train the small CNN."""
    graphs, model = read(Path(sys.argv[1]), "cnn-small")
    trainer, data = OnnxTrainer(graphs), samples("cnn-small", 10)
    one = data.take(np.arange(BATCH))
    trainer.fit(model, one, LOCAL, seed=0, round=1, client="a")
    loaded = sorted({"torch", "flwr", "onnx"} & set(sys.modules))
    seconds = {"seconds_to_first_step": round(age(), 2), "cpu_seconds_to_first_step": time.process_time()}
    print(json.dumps({**seconds, "loaded": loaded}), flush=True)
    end = None
    while end is None or time.monotonic() < end:
        trainer.fit(model, data, LOCAL, seed=0, round=2, client="a")
        trainer.evaluate(model, data)
        if end is None:
            print(flush=True)
            end = time.monotonic() + float(sys.argv[2])
    os._exit(0)  # Python's own end would touch all that it has


if __name__ == "__main__":
    main()
