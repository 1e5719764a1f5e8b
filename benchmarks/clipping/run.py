"""The mean of a batch's clipped gradients: ours beside Opacus 1.6, with hooks and with ghost norms.

    python benchmarks/clipping/run.py

The same model, batch and bound for all; results are compared first. CPU time
of one thread, the four in turn, the median of all repeats. Writes results.json
and README.md beside this file.
"""

import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from opacus import GradSampleModule
from opacus.grad_sample import GradSampleModuleFastGradientClipping
from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping
from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping
from torch import Tensor, nn

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent)]

import about  # noqa: E402

from hedgerow.client.task import Task  # noqa: E402
from hedgerow.client.torch.samples import GRID  # noqa: E402
from hedgerow.client.torch.trainer import TorchTrainer  # noqa: E402
from hedgerow.models import build  # noqa: E402

BOUND, BATCH = 1.0, 32
REPEATS = {"logistic": 60, "mlp-2nn": 30, "cnn-small": 20, "cnn-fedavg": 5}
Step = Callable[[Tensor, Tensor], Tensor]
"""`(x, y) -> mean of the clipped gradients`, `(d,)`."""


def ours(net: nn.Module, *, exact: bool) -> Step:
    """With `clip_samples`; `exact`: as noise is added to it, in whole units."""
    samples = TorchTrainer(Task(lambda: net))._samples
    net.train()
    if exact:
        return lambda x, y: samples.fixed_sum(x, y, BOUND, lambda place: place) * (BOUND / GRID / len(x))
    return lambda x, y: torch.cat([g.flatten() for g in samples(x, y, BOUND)[1]])


def hooks(net: nn.Module) -> Step:
    """Opacus's gradient of each sample, and its optimizer's clipping."""
    module = GradSampleModule(net)
    optimizer = DPOptimizer(
        torch.optim.SGD(module.parameters(), lr=1.0),
        noise_multiplier=0.0, max_grad_norm=BOUND, expected_batch_size=BATCH,
    )  # fmt: skip

    def step(x: Tensor, y: Tensor) -> Tensor:
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(x), y).backward()
        optimizer.clip_and_accumulate()
        return torch.cat([p.summed_grad.flatten() for p in module.parameters()]) / len(x)

    return step


def ghost(net: nn.Module) -> Step:
    """Opacus's norms without gradients, and a second pass."""
    module = GradSampleModuleFastGradientClipping(net, max_grad_norm=BOUND, use_ghost_clipping=True)
    optimizer = DPOptimizerFastGradientClipping(
        torch.optim.SGD(module.parameters(), lr=1.0),
        noise_multiplier=0.0, max_grad_norm=BOUND, expected_batch_size=BATCH,
    )  # fmt: skip
    criterion = DPLossFastGradientClipping(module, optimizer, nn.CrossEntropyLoss())

    def step(x: Tensor, y: Tensor) -> Tensor:
        optimizer.zero_grad()
        criterion(module(x), y).backward()
        return torch.cat([p.grad.flatten() for p in module.parameters()]) / len(x)

    return step


def measured(name: str) -> dict[str, Any]:
    """CPU milliseconds of each way, for one model."""
    torch.manual_seed(0)
    net = build(name, input_shape=(1, 28, 28), num_classes=10)()
    x, y = torch.rand(BATCH, 1, 28, 28), torch.randint(10, (BATCH,))
    steps = {
        "ours": ours(deepcopy(net), exact=False),
        "ours, whole units": ours(deepcopy(net), exact=True),
        "Opacus, hooks": hooks(deepcopy(net)),
        "Opacus, ghost": ghost(deepcopy(net)),
    }
    expected = steps["ours"](x, y)
    for way, step in steps.items():
        off = (step(x, y) - expected).norm() / expected.norm()
        assert off < 1e-4, f"{way} of {name} is off by {off:.2g}"
    taken: dict[str, list[float]] = {way: [] for way in steps}
    for _ in range(REPEATS[name]):
        for way, step in steps.items():
            begun = time.process_time()
            step(x, y)
            taken[way].append(1000 * (time.process_time() - begun))
    return {
        "parameters": sum(p.numel() for p in net.parameters()),
        "ms": {way: round(statistics.median(several), 3) for way, several in taken.items()},
    }


def page(results: dict[str, Any]) -> str:
    """The table."""
    ways = list(next(iter(results["models"].values()))["ms"])
    lines = [
        "# Clipping each sample's gradient",
        "",
        f"The mean of the clipped gradients of {BATCH} pictures of 28x28, CPU time of one thread, beside",
        "Opacus 1.6 in one process, in turn. `whole units`: the exact sum that `sample_noise` adds its noise",
        "to, which the others do not have. Noise is in none of them. More than 1 x: longer than ours.",
        "",
        f"| model | parameters | {ways[0]} | " + " | ".join(f"{way}, of ours" for way in ways[1:]) + " |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in results["models"].items():
        first, *others = row["ms"].values()
        ratios = " | ".join(f"{other / first:.2f} x" for other in others)
        lines.append(f"| `{name}` | {row['parameters']:,} | {first:.3g} ms | {ratios} |")
    return "\n".join([*lines, "", about.line(results), "`make bench-clipping` writes this page.", ""])


def main() -> None:
    """Measure, and write both files."""
    warnings.filterwarnings("ignore", "Full backward hook is firing")  # of Opacus's own hooks
    torch.set_num_threads(1)
    results: dict[str, Any] = about.about("torch", "opacus")
    results["models"] = {name: measured(name) for name in REPEATS}
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (HERE / "README.md").write_text(page(results))
    print((HERE / "README.md").read_text())


if __name__ == "__main__":
    main()
