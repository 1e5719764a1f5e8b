"""A trainer in numpy, for logistic regression; each client's momentum lasts from round to round."""

import numpy as np

from hedgerow.client.task import Task
from hedgerow.client.trainers import Computing
from hedgerow.rng import generator
from hedgerow.types import Arrays, Fit, Layout, LocalTraining, Model, Samples, Tensor


def softmax(task: Task, computing: Computing) -> "Softmax":
    """Logistic regression by SGD in numpy, with a momentum that each client keeps."""
    return Softmax(task)


class Softmax:
    """The model is one linear layer: its parameters are a weight `(k, n)` and a bias `(k,)`."""

    supports = frozenset({"state", "momentum"})

    def __init__(self, task: Task) -> None:
        named = dict(task.model().named_parameters())
        self.layout = Layout(tuple(Tensor(name, tuple(p.shape)) for name, p in named.items()))
        self._shape = self.layout.parameters[0].shape

    def initial(self, seed: int) -> Model:
        """Small random weights."""
        draw = generator(seed, "softmax").normal(size=self.layout.dimension)
        return Model(0.01 * draw.astype(np.float32))

    def fit(
        self, model: Model, data: Samples, local: LocalTraining, *, seed: int, round: int, client: str,
        state: Arrays,
    ) -> Fit:  # fmt: skip
        """SGD with momentum on minibatches in a random order."""
        w, order = model.parameters.astype(np.float64), generator(seed, "softmax", round=round, client=client)
        velocity = state.get("velocity", np.zeros(len(w)))
        for _ in range(local.epochs):
            for rows in np.array_split(order.permutation(len(data)), local.steps(len(data)) // local.epochs):
                velocity = local.momentum * velocity + self._loss(w, data.x[rows], data.y[rows])[1]
                w -= local.learning_rate_at(round) * velocity
        loss = self._loss(model.parameters.astype(np.float64), data.x, data.y)[0]
        delta = w.astype(np.float32) - model.parameters
        return Fit(delta, model.buffers, len(data), {"loss": loss}, state={"velocity": velocity})

    def evaluate(self, model: Model, data: Samples) -> dict[str, float]:
        """Mean loss and accuracy."""
        w = model.parameters.astype(np.float64)
        right = self._scores(w, data.x).argmax(1) == data.y
        return {"loss": self._loss(w, data.x, data.y)[0], "accuracy": float(right.mean())}

    def _scores(self, w, x):
        k, n = self._shape
        return x.reshape(len(x), n) @ w[: k * n].reshape(k, n).T + w[k * n :]

    def _loss(self, w, x, y):
        scores = self._scores(w, x)
        scores = np.exp(scores - scores.max(1, keepdims=True))
        shares, rows = scores / scores.sum(1, keepdims=True), np.arange(len(y))
        loss = float(-np.log(np.maximum(shares[rows, y], 1e-30)).mean())
        shares[rows, y] -= 1
        shares /= len(y)
        return loss, np.concatenate([(shares.T @ x.reshape(len(x), -1)).ravel(), shares.sum(0)])
