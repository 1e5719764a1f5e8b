"""Promotions to be written down and handed over."""

import hashlib

import numpy as np
from safetensors.numpy import save

from hedgerow.promotion.lineage import Lineage, Promotion


def content(value: float, size: int = 4) -> bytes:
    """A model, as safetensors."""
    return save({"weight": np.full(size, value, np.float32)})


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def make(number: int, time: str, model: str, size: int) -> Promotion:
    """A promotion of a model of no run."""
    private: dict[str, float | str] = {"epsilon": 2.0, "delta": 1e-5, "adjacency": "zero_out"}
    lineage = Lineage("demo", "0" * 64, "run", number, 3, private, "simulation", {"loss": 0.5}, "0.1")
    return Promotion(number, time, model, size, {"rule": "by hand"}, lineage, "{}")
