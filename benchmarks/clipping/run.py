"""Clipped gradients of a batch's samples, with noise and without: ours, by Opacus's rules, and Opacus itself.

    python benchmarks/clipping/run.py

The same model, batch and bound for all; results are compared first. CPU time
of one thread, all in turn, the median of all repeats. Writes results.json and
README.md beside this file. `sample_gradients = "auto"` is held to these
results (`tests/laws/test_sample_ways.py`).
"""

import json
import os
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
from opacus.layers import DPLSTM
from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping
from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping
from torch import Tensor, nn

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent)]

import about  # noqa: E402

from hedgerow.client.task import Task  # noqa: E402
from hedgerow.client.torch.private import chance, private_gradients  # noqa: E402
from hedgerow.client.torch.trainer import TorchTrainer  # noqa: E402
from hedgerow.models import build  # noqa: E402
from hedgerow.models.recurrent import NextCharacter  # noqa: E402
from hedgerow.types import LocalTraining, Samples  # noqa: E402

BOUND = 1.0
Step = Callable[[Tensor, Tensor], Tensor]
"""`(x, y) -> mean of the clipped gradients`, `(d,)`."""


def picture(name: str) -> nn.Module:
    """A model of pictures of 28x28."""
    return build(name, input_shape=(1, 28, 28), num_classes=10)()


def text() -> nn.Module:
    """The FedAvg paper's character LSTM, with Opacus's form of the layer."""
    return NextCharacter(80, 80, 8, DPLSTM(8, 256, 2, batch_first=True))


PICTURES, SERIES, CHARACTERS = (32, 1, 28, 28), (32, 9, 128), (8, 80)
MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "logistic": (lambda: picture("logistic"), PICTURES, 40),
    "mlp-2nn": (lambda: picture("mlp-2nn"), PICTURES, 15),
    "cnn-small": (lambda: picture("cnn-small"), PICTURES, 15),
    "cnn-fedavg": (lambda: picture("cnn-fedavg"), PICTURES, 4),
    "resnet-gn-tiny": (lambda: picture("resnet-gn-tiny"), PICTURES, 5),
    "cnn-1d": (build("cnn-1d", input_shape=SERIES[1:], num_classes=6), SERIES, 15),
    "lstm-char, DPLSTM": (text, CHARACTERS, 3),
}
"""Model, shape of a batch, repeats."""


def ours(net: nn.Module, samples: Samples, by: str) -> dict[str, Step]:
    """With `sample_gradients = by`: the mean; and the exact sum that noise is added to."""
    trainer = TorchTrainer(Task(lambda: deepcopy(net)))
    trainer._net.load(trainer.initial(0))
    trainer._net.train()
    local = LocalTraining(clip_samples=BOUND, batch_size=len(samples), sample_gradients=by)
    way = trainer._way(samples, local, "")
    private = LocalTraining(
        clip_samples=BOUND, batch_size=len(samples), sample_noise=1.0, sample_rate=1.0, sample_delta=1e-5
    )
    drawn = chance(True, seed=0, round=1, client="")

    def exact(x: Tensor, y: Tensor) -> Tensor:
        return way.gradients.fixed_sum(x, y, BOUND, lambda place: place) * (BOUND / 2**30 / len(x))

    def noisy(x: Tensor, y: Tensor) -> Tensor:
        def fixed_sum(index: Any) -> Any:
            return way.gradients.fixed_sum(x[index], y[index], BOUND, lambda place: place).numpy()

        found = private_gradients(fixed_sum, len(x), trainer._net.parameters, private, drawn)
        return torch.cat([g.flatten() for g in found])

    def mean(x: Tensor, y: Tensor) -> Tensor:
        return torch.cat([g.flatten() for g in way.gradients(x, y, BOUND)[1]])

    return {f"{by}, mean": mean, f"{by}, sum": exact, f"{by}, sum with noise": noisy}


def hooks(net: nn.Module, batch: int, noise: float) -> Step:
    """Opacus's gradient of each sample, and its optimizer's clipping."""
    module = GradSampleModule(deepcopy(net))
    optimizer = DPOptimizer(
        torch.optim.SGD(module.parameters(), lr=0.0),
        noise_multiplier=noise, max_grad_norm=BOUND, expected_batch_size=batch,
    )  # fmt: skip

    def step(x: Tensor, y: Tensor) -> Tensor:
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(x), y).backward()
        optimizer.pre_step()
        return torch.cat([p.grad.flatten() for p in module.parameters()])

    return step


def ghost(net: nn.Module, batch: int, noise: float) -> Step:
    """Opacus's norms without gradients, and a second pass."""
    module = GradSampleModuleFastGradientClipping(deepcopy(net), max_grad_norm=BOUND, use_ghost_clipping=True)
    optimizer = DPOptimizerFastGradientClipping(
        torch.optim.SGD(module.parameters(), lr=0.0),
        noise_multiplier=noise, max_grad_norm=BOUND, expected_batch_size=batch,
    )  # fmt: skip
    criterion = DPLossFastGradientClipping(module, optimizer, nn.CrossEntropyLoss())

    def step(x: Tensor, y: Tensor) -> Tensor:
        optimizer.zero_grad()
        criterion(module(x), y).backward()
        optimizer.pre_step()
        return torch.cat([p.grad.flatten() for p in module.parameters()])

    return step


def measured(name: str) -> dict[str, Any]:
    """CPU milliseconds of each way, for one model."""
    make, shape, repeats = MODELS[name]
    torch.manual_seed(0)
    net = make()
    x = torch.randint(80, shape) if shape == CHARACTERS else torch.rand(*shape)
    y = torch.randint(6, shape[:1])
    samples = Samples(x.numpy(), y.numpy())
    batch = shape[0]
    steps = {
        **ours(net, samples, "hedgerow"),
        **ours(net, samples, "opacus"),
        "hooks of Opacus": hooks(net, batch, 0.0),
        "hooks of Opacus, with noise": hooks(net, batch, 1.0),
        "ghost norms of Opacus": ghost(net, batch, 0.0),
        "ghost norms of Opacus, with noise": ghost(net, batch, 1.0),
    }
    expected = steps["hedgerow, mean"](x, y)
    for way, step in steps.items():
        off = (step(x, y) - expected).norm() / expected.norm()
        assert "noise" in way or off < 1e-4, f"{way} of {name} is off by {off:.2g}"
    taken: dict[str, list[float]] = {way: [] for way in steps}
    for _ in range(repeats):
        for way, step in steps.items():
            begun = time.process_time()
            step(x, y)
            taken[way].append(1000 * (time.process_time() - begun))
    trainer = TorchTrainer(Task(lambda: deepcopy(net)))
    return {
        "parameters": sum(p.numel() for p in net.parameters()),
        "batch": batch,
        "auto": trainer._way(samples, LocalTraining(clip_samples=BOUND), "").name,
        "ms": {way: round(statistics.median(several), 3) for way, several in taken.items()},
    }


COLUMNS = {
    "mean": ("hedgerow, mean", "opacus, mean", "hooks of Opacus", "ghost norms of Opacus"),
    "sum": ("hedgerow, sum", "opacus, sum"),
    "sum with noise": (
        "hedgerow, sum with noise", "opacus, sum with noise", "hooks of Opacus, with noise",
        "ghost norms of Opacus, with noise",
    ),
}  # fmt: skip


def table(results: dict[str, Any], of: str) -> list[str]:
    """Of one of `COLUMNS`; a way's time relative to the first."""
    first, *others = COLUMNS[of]
    lines = [
        f"| model | parameters | {first} | " + " | ".join(f"{way}" for way in others) + " | auto |",
        "|---|---|---|" + "---|" * len(others) + "---|",
    ]
    for name, row in results["models"].items():
        ratios = " | ".join(f"{row['ms'][way] / row['ms'][first]:.2f} x" for way in others)
        lines.append(
            f"| `{name}` | {row['parameters']:,} | {row['ms'][first]:.3g} ms | {ratios} | {row['auto']} |"
        )
    return lines


def page(results: dict[str, Any]) -> str:
    """The tables."""
    lines = [
        "# Clipping each sample's gradient",
        "",
        "CPU time of one thread for a batch of 32 (of the LSTM 8), all in one process, in turn; x: of",
        "the first column. `hedgerow` and `opacus` are values of `local.sample_gradients`, and auto what",
        'the last column says it is. "Of Opacus" is Opacus 1.6 by itself, without Hedgerow.',
        "",
        "The mean of the clipped gradients (`clip_samples` without `sample_noise`):",
        "",
        *table(results, "mean"),
        "",
        "The exact sum, which Opacus by itself does not have:",
        "",
        *table(results, "sum"),
        "",
        "A private step, noise included: ours is an exact discrete Gaussian in the units of the sum (here",
        "from a seed), that of Opacus float32 from torch's generator:",
        "",
        *table(results, "sum with noise"),
        "",
        about.line(results) + f" Load before and after: {results['load']}.",
        "`make bench-clipping` writes this page.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, and write both files."""
    warnings.filterwarnings("ignore", "Full backward hook is firing")  # of Opacus's own hooks
    torch.set_num_threads(1)
    results: dict[str, Any] = about.about("torch", "opacus")
    before = os.getloadavg()[0]
    results["models"] = {name: measured(name) for name in MODELS}
    results["load"] = f"{before:.1f}, {os.getloadavg()[0]:.1f}"
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (HERE / "README.md").write_text(page(results))
    print((HERE / "README.md").read_text())


if __name__ == "__main__":
    main()
