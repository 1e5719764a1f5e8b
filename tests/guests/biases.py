"""A personal rule: each client keeps its own biases."""

from hedgerow.strategies.personal import Rule


def biases() -> Rule:
    """Tensors that are called a bias."""
    return lambda layout: [t.name for t in layout.parameters if t.name.rpartition(".")[2] == "bias"]
