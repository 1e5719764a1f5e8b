"""Write the golden payloads: `python tests/golden/make.py`, by hand, when the wire format changes on purpose.

The tests never write them. A payload that differs from its file means that a
client and a server of different versions no longer understand each other.
"""

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from hedgerow.strategies import decode, encode, parse_pipeline
from hedgerow.types import Arrays, Client, Layout, RoundContext, Tensor, Vector

FOLDER = Path(__file__).parent / "payloads"
PYTHON_FOLDER = Path(__file__).parent / "payloads-python"
LAYOUT = Layout(
    (Tensor("weight", (12, 16)), Tensor("scalar", ()), Tensor("bias", (10,)), Tensor("empty", (0,)))
)
ROUNDS = 2

PIPELINES = {
    "float32": "float32()",
    "weight": "weight_by_examples()",
    "weight-capped": "weight_by_examples(10)",
    "clip": "clip(0.75)",
    "private": "chain(adaptive_clip(0.75), gaussian_noise(1.0), quantize(8))",
    "randomized-round": "chain(clip(0.75), randomized_round(0.0009765625, 0.75))",
    "distributed": "chain(clip(0.75), randomized_round(0.125, 0.75), distributed_noise(9.0, 0.75, 0.125, 9))",
    "skellam-08": "chain(clip(0.75), randomized_round(0.125, 0.75), skellam_noise(1.0, 0.75, 0.125, 9, 8))",
    "skellam-16": "chain(clip(0.75), randomized_round(0.125, 0.75), skellam_noise(9.0, 0.75, 0.125, 9))",
    "banded": "chain(clip(0.75), banded_noise(1.0, 2, 10), top_k(0.1))",
    **{f"quantize-{bits:02}": f"quantize({bits})" for bits in range(1, 17)},
    **{f"quantize-{bits:02}-nearest": f"quantize({bits}, rounding='nearest')" for bits in (1, 2, 8, 16)},
    "quantize-block": "quantize(4, block=64)",
    "quantize-range": "quantize(6, range=0.5)",
    "quantize-range-nearest": "chain(random_k(0.5), quantize(4, rounding='nearest', range=0.5))",
    "top-k-rice": "top_k(0.05)",
    "top-k-bitmap": "top_k(0.5)",
    "random-k": "random_k(0.1)",
    "random-k-biased": "random_k(0.1, unbiased=False)",
    "top-k-quantize": "chain(top_k(0.1), quantize(8))",
    "feedback-top-k": "error_feedback(top_k(0.05))",
    "feedback-random-k": "error_feedback(random_k(0.2, unbiased=False))",
    "feedback-quantize": "error_feedback(quantize(2, rounding='nearest'))",
    "everything": "chain(weight_by_examples(), clip(2.0), error_feedback(top_k(0.1), quantize(6, block=8)))",
}

PYTHON = {
    "eden-half": "eden(0.5)",
    **{f"eden-{bits}": f"eden({bits})" for bits in range(1, 9)},
    "eden-biased": "eden(2, unbiased=False)",
    "drive": "drive()",
    "ternary": "ternary(0.05)",
    "subspace": "subspace(0.1)",
    "subspace-masked": "chain(clip(2.0), subspace(0.2), quantize(6, range=0.5))",
    "feedback-subspace": "error_feedback(subspace(0.2, unbiased=False))",
    "feedback-eden": "error_feedback(eden(1))",
    "feedback-ternary": "error_feedback(ternary(0.03))",
    "entropy-quantize": "entropy(quantize(4))",
    "entropy-ternary": "entropy(ternary(0.3))",
}
"""What the phone's page does not speak, and refuses by name: it reads all files of the other folder."""

FOLDERS = {FOLDER: PIPELINES, PYTHON_FOLDER: PYTHON}


def delta(round: int) -> Vector:
    """Whole numbers over a power of two: exact on every machine, without a random generator."""
    i = np.arange(LAYOUT.dimension, dtype=np.int64)
    mixed = (i * i * 7919 + i * 104_729 * round + 31) % 2003 - 1001
    return (mixed / 2.0 ** (10 + i % 5)).astype(np.float32)


def context(round: int) -> RoundContext:
    """What the client of the golden payloads knows."""
    return RoundContext(2026, round, Client("golden"), LAYOUT, num_examples=37, seeded_noise=True)


def arrays_of(text: str) -> dict[str, np.ndarray]:
    """Everything about two rounds: what is sent, what it decodes to, what the client keeps."""
    pipeline = parse_pipeline(text)
    found: dict[str, np.ndarray] = {}
    state: Arrays = {}
    for round in range(1, ROUNDS + 1):
        payload, state = encode(pipeline, delta(round), state, context(round))
        found |= {f"{round}/sent/{name}": np.ascontiguousarray(a) for name, a in payload.arrays.items()}
        found |= {f"{round}/state/{name}": np.ascontiguousarray(a) for name, a in state.items()}
        found[f"{round}/weight"] = np.array([payload.weight])
        found[f"{round}/decoded"] = decode(pipeline, payload, context(round))
    return found


def main() -> None:
    """Write one file a pipeline, and remove files of pipelines that are gone."""
    for folder, pipelines in FOLDERS.items():
        folder.mkdir(exist_ok=True)
        for name, text in pipelines.items():
            save_file(arrays_of(text), folder / f"{name}.safetensors", metadata={"pipeline": text})
        for path in folder.iterdir():
            if path.stem not in pipelines:
                path.unlink()
        size = sum(path.stat().st_size for path in folder.iterdir())
        print(f"wrote {len(pipelines)} files, {size} bytes, to {folder}")


if __name__ == "__main__":
    main()
