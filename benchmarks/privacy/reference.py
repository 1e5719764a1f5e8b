"""DP-FedAvg in plain numpy, to hold Hedgerow's against: McMahan et al. 2018 (arXiv:1710.06963, algorithm 1).

Nothing here is Hedgerow's or torch's. A model is a list of layers `(weights,
bias)` with ReLU between them; a client is a pair `(x, y)`. Everything is
float64, all randomness comes from one generator, and noise is continuous.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

Model = list[tuple[np.ndarray, np.ndarray]]
Client = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Settings:
    """What a run depends on, beside data and seed."""

    rounds: int
    cohort: int  # clients in a round, on average
    clip_norm: float
    noise_multiplier: float  # standard deviation of the sum's noise / clip_norm
    learning_rate: float
    epochs: int
    batch_size: int
    server_learning_rate: float = 1.0
    server_momentum: float = 0.0
    hidden: tuple[int, ...] = ()


def dp_fedavg(
    clients: Sequence[Client],
    classes: int,
    settings: Settings,
    sampling: str,
    random: np.random.Generator,
    start: Model | None = None,
) -> Model:
    """The final model. `sampling` is `"poisson"` or `"cyclic"`; `start` may be the first model."""
    model = start or initial(clients[0][0].shape[1], settings.hidden, classes, random)
    velocity = np.zeros_like(flat(model))
    groups = len(clients) // settings.cohort
    group = random.integers(groups, size=len(clients))
    expected = settings.cohort if sampling == "poisson" else len(clients) / groups
    for round in range(settings.rounds):
        if sampling == "poisson":
            cohort = np.flatnonzero(random.random(len(clients)) < settings.cohort / len(clients))
        else:
            cohort = np.flatnonzero(group == round % groups)
        total = np.zeros_like(velocity)
        for client in cohort:
            delta = flat(trained(model, clients[client], settings, random)) - flat(model)
            total += delta * min(1.0, settings.clip_norm / max(np.linalg.norm(delta), 1e-12))
        total += random.normal(0, settings.noise_multiplier * settings.clip_norm, len(total))
        velocity = settings.server_momentum * velocity + total / expected
        model = unflat(flat(model) + settings.server_learning_rate * velocity, model)
    return model


def trained(model: Model, client: Client, settings: Settings, random: np.random.Generator) -> Model:
    """A client's model after local SGD; a last, smaller batch counts as a step too."""
    x, y = client
    model = [(weights.copy(), bias.copy()) for weights, bias in model]
    for _ in range(settings.epochs):
        order = random.permutation(len(y))
        for start in range(0, len(y), settings.batch_size):
            batch = order[start : start + settings.batch_size]
            for (weights, bias), (of_weights, of_bias) in zip(
                model, gradient(model, x[batch], y[batch]), strict=True
            ):
                weights -= settings.learning_rate * of_weights
                bias -= settings.learning_rate * of_bias
    return model


def scores(model: Model, x: np.ndarray) -> list[np.ndarray]:
    """The input of each layer, and last the scores of the classes."""
    values = [x]
    for place, (weights, bias) in enumerate(model):
        outputs = values[-1] @ weights + bias
        values.append(outputs if place == len(model) - 1 else np.maximum(outputs, 0))
    return values


def gradient(model: Model, x: np.ndarray, y: np.ndarray) -> Model:
    """Of the mean cross-entropy of a batch."""
    *inputs, outputs = scores(model, x)
    exponents = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    error = exponents / exponents.sum(axis=1, keepdims=True)
    error[np.arange(len(y)), y] -= 1
    error /= len(y)
    gradients = []
    for place in reversed(range(len(model))):
        gradients.append((inputs[place].T @ error, error.sum(axis=0)))
        error = (error @ model[place][0].T) * (inputs[place] > 0)
    return gradients[::-1]


def accuracy(model: Model, x: np.ndarray, y: np.ndarray) -> float:
    """The share of samples whose class has the highest score."""
    return float((scores(model, x)[-1].argmax(axis=1) == y).mean())


def initial(inputs: int, hidden: Sequence[int], classes: int, random: np.random.Generator) -> Model:
    """Weights and biases uniform within `1 / sqrt(inputs)` of the layer, as torch draws them."""
    model, sizes = [], [inputs, *hidden, classes]
    for fan_in, fan_out in pairwise(sizes):
        bound = 1 / math.sqrt(fan_in)
        weights = random.uniform(-bound, bound, (fan_in, fan_out))
        model.append((weights, random.uniform(-bound, bound, fan_out)))
    return model


def flat(model: Model) -> np.ndarray:
    """All parameters in one array."""
    return np.concatenate([part.ravel() for layer in model for part in layer])


def unflat(values: np.ndarray, like: Model) -> Model:
    """The inverse of `flat`."""
    parts, start = [], 0
    for layer in like:
        pair = []
        for part in layer:
            pair.append(values[start : start + part.size].reshape(part.shape).copy())
            start += part.size
        parts.append((pair[0], pair[1]))
    return parts


def noise_multiplier(epsilon: float, delta: float, participations: int) -> float:
    """The least noise for which a client in so many rounds, none of them by chance, has this epsilon.

    Exact, for a Gaussian: Balle and Wang 2018 (arXiv:1805.06530, theorem 8).
    `participations` rounds of noise z are one of noise z / sqrt(participations).
    """

    def spent(multiplier: float) -> float:
        mu = math.sqrt(participations) / multiplier
        return normal(mu / 2 - epsilon / mu) - math.exp(epsilon) * normal(-mu / 2 - epsilon / mu)

    low, high = 1e-3, 1e4
    while high / low > 1 + 1e-9:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if spent(middle) <= delta else (middle, high)
    return high


def normal(x: float) -> float:
    """The standard normal's distribution function."""
    return math.erfc(-x / math.sqrt(2)) / 2
