"""Ways to send real updates: bits on the wire, error, and the time of encoding and decoding.

    python benchmarks/codecs/run.py

Updates are those of clients that train for a few epochs on the embedded data, from a model that was trained
a little before. CPU time of one thread. Writes results.json and README.md beside this file.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent)]

import about  # noqa: E402

import hedgerow as hr  # noqa: E402
from hedgerow.models import build  # noqa: E402
from hedgerow.ring.packing import unpack  # noqa: E402
from hedgerow.strategies import Transform, decode, encode  # noqa: E402
from hedgerow.types import Client, RoundContext, Vector  # noqa: E402

CLIENTS, EPOCHS, BATCH, RATE = 2, 5, 10, 0.1
BITS = (1, 2, 4, 8)
OTHERS = (
    "eden(0.5)", "eden(1, unbiased=False)", "ternary(0.01)", "top_k(0.01)", "chain(top_k(0.01), quantize(8))",
    "entropy(quantize(4))", "entropy(quantize(8))", "entropy(eden(4))",
)  # fmt: skip
PIPELINES = (*(f"quantize({b})" for b in BITS), *(f"eden({b})" for b in BITS), *OTHERS)
WORK = {
    "cnn-fedavg": ("fashion-mnist", 600),
    "cnn-small": ("fashion-mnist", 600),
    "cnn-1d": ("watch", 300),
}
"""Model: data, and a client's samples. The first is the FedAvg paper's CNN, with its 600 samples a client."""


def updates(model: str) -> tuple[Any, list[Vector], float]:
    """The layout, the deltas of clients that start from a trained model, and a client's CPU seconds."""
    name, samples = WORK[model]
    train = hr.load_dataset(name).train
    factory = build(model, input_shape=train.x.shape[1:], num_classes=int(train.y.max()) + 1)
    trainer = hr.TorchTrainer(hr.Task(factory))
    local = hr.LocalTraining(learning_rate=RATE, epochs=EPOCHS, batch_size=BATCH)
    order = np.random.default_rng(0).permutation(len(train))
    start, deltas, seconds = trainer.initial(0), [], []
    for client in range(CLIENTS + 1):
        part = order[client * samples : (client + 1) * samples]
        data = hr.Samples(train.x[part], train.y[part])
        began = time.process_time()
        fit = trainer.fit(start, data, local, seed=0, round=1, client=f"client-{client}")
        if client:
            deltas.append(fit.delta)
            seconds.append(time.process_time() - began)
        else:  # of the first client, only the model is of use: the others start from there
            start = hr.Model(start.parameters + fit.delta, fit.buffers)
    return trainer.layout, deltas, statistics.median(seconds)


def timed(call: Callable[[], Any], repeats: int = 3) -> tuple[Any, float]:
    """What a call gives, and the median of its CPU milliseconds."""
    taken, found = [], None
    for _ in range(repeats):
        began = time.process_time()
        found = call()
        taken.append(1000 * (time.process_time() - began))
    return found, statistics.median(taken)


def entropy_of(pipeline: Transform, payload: Any, n: int) -> float:
    """Entropy of the codes that a pipeline packs, in bits for each of the model's values."""
    count = pipeline.length(n)
    share = np.bincount(unpack(payload.values, pipeline.code_bits, count)) / count
    return float(-(share[share > 0] @ np.log2(share[share > 0])) * count / n)


def measured(text: str, layout: Any, deltas: list[Vector]) -> dict[str, Any]:
    """One way of sending: what it takes and gives, the mean over the clients."""
    pipeline, n = hr.parse_pipeline(text), layout.dimension
    bits, errors, encoding, decoding, coded = [], [], [], [], []
    for number, delta in enumerate(deltas):
        where = RoundContext(0, 1, Client(f"client-{number + 1}"), layout, num_examples=1)
        (payload, _), spent = timed(lambda d=delta, w=where: encode(pipeline, d, {}, w))
        decoded, back = timed(lambda p=payload, w=where: decode(pipeline, p, w))
        encoding.append(spent)
        decoding.append(back)
        bits.append(8 * sum(array.nbytes for array in payload.arrays.values()) / n)
        exact = delta.astype(np.float64)
        errors.append(np.square(decoded - exact).sum() / np.square(exact).sum())
        if text.startswith("entropy("):
            inner = hr.parse_pipeline(text.removeprefix("entropy(").removesuffix(")"))
            coded.append(entropy_of(inner, encode(inner, delta, {}, where)[0], n))
    found = {
        "bits": round(statistics.mean(bits), 4),
        "error": float(f"{statistics.mean(errors):.4g}"),
        "encode_ms": round(statistics.mean(encoding), 2),
        "decode_ms": round(statistics.mean(decoding), 2),
    }
    return {**found, "entropy": round(statistics.mean(coded), 4)} if coded else found


def page(results: dict[str, Any]) -> str:
    """The tables."""
    models, first = results["models"], next(iter(results["models"].values()))
    lines = [
        "# Ways to send an update",
        "",
        f"Updates of {CLIENTS} clients, each of {EPOCHS} epochs of batches of {BATCH} at a learning rate of"
        f" {RATE}, from a model that was trained as long before. Bits: of the payload, for each of the"
        " model's values. Error: the squared error of what is decoded over the squared norm of the update."
        " Times: CPU time of one thread.",
        "",
    ]
    for name, row in models.items():
        lines += [
            f"`{name}` on {row['data']}, {row['samples']} samples a client, {row['parameters']:,} parameters;"
            f" training took {row['training_s']:.3g} s a client:",
            "",
            "| pipeline | bits | entropy of the codes | error | encoding | of training | decoding"
            " 100 clients |",
            "|---|---|---|---|---|---|---|",
        ]
        for text, found in row["pipelines"].items():
            share = found["encode_ms"] / 10 / row["training_s"]
            coded = f"{found['entropy']:.3f}" if "entropy" in found else ""
            lines.append(
                f"| `{text}` | {found['bits']:.3f} | {coded} | {found['error']:.4g} |"
                f" {found['encode_ms']:.3g} ms | {share:.2g} % | {found['decode_ms'] / 10:.3g} s |"
            )
        lines.append("")
    ways = first["pipelines"]
    beaten = ", ".join(f"{ways[f'quantize({b})']['error'] / ways[f'eden({b})']['error']:.3g}" for b in BITS)
    slowest = max(ways[f"eden({b})"]["decode_ms"] for b in BITS) / 10
    lines += [
        f"Of the paper's CNN, the error of `quantize` is {beaten} times that of `eden` at"
        f" {', '.join(map(str, BITS))} bits. The slowest of `eden(1)` to `eden(8)` decodes 100 clients in"
        f" {slowest:.3g} s, where 3 s were the aim.",
        "",
        f"{about.line(results)} Load before and after: {results['load']}; other programs were running,"
        " so that the times are longer than on a machine that does nothing else.",
        "`make bench-codecs` writes this page.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, and write both files."""
    torch.set_num_threads(1)
    results: dict[str, Any] = about.about("numpy", "torch")
    before, results["models"] = os.getloadavg()[0], {}
    for model, (data, samples) in WORK.items():
        layout, deltas, seconds = updates(model)
        results["models"][model] = {
            "data": data, "samples": samples, "parameters": layout.dimension, "training_s": round(seconds, 2),
            "pipelines": {text: measured(text, layout, deltas) for text in PIPELINES},
        }  # fmt: skip
        print(model, json.dumps(results["models"][model]), flush=True)
    results["load"] = f"{before:.1f}, {os.getloadavg()[0]:.1f}"
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (HERE / "README.md").write_text(page(results))


if __name__ == "__main__":
    main()
