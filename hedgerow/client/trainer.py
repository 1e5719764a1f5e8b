"""What can train and evaluate a model on a client's data."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hedgerow import checks
from hedgerow.client.task import Task
from hedgerow.types import FailedFit, Fit, Layout, LocalTraining, Model, Samples, Vector


class Trainer(Protocol):
    """Trains and evaluates one task; every back end keeps the same law.

    Nothing is remembered between calls: a result depends on the arguments
    alone (of which a client's `state` may be one). Two back ends agree to
    1e-5; one back end gives the same bits for the same arguments, in any
    process of one machine.
    """

    @property
    def supports(self) -> frozenset[str]:
        """What `fit` does beyond plain SGD, by name; a trainer that declares nothing supports nothing more.

        Plain SGD is `learning_rate`, `learning_rate_decay`, `epochs` and
        `batch_size` of `LocalTraining`. Beyond that there are

        - `"adam"`, `"momentum"`, `"weight_decay"`, `"proximal"`,
          `"clip_gradient"` and `"clip_samples"`: that choice of `LocalTraining`;
        - `"sample_noise"`: that choice too; `fit` then takes `seeded_noise`,
          whether its noise follows from the run's seed (in a simulation);
        - `"opacus"`: `sample_gradients = "opacus"` of `LocalTraining`;
        - `"correction"`: `fit` takes `correction`, added to every step's
          gradient, `(d,) float32`;
        - `"state"`: `fit` takes `state`, the arrays that this client's last
          `Fit` held in its `state`, `{}` at first; they are kept with all else
          that a client keeps, also where a run is resumed;
        - `"outputs"`: the trainer is a `Predicts`;
        - `"many"`: the trainer is a `TrainsMany`; a client's state is for `fit` alone;
        - `"choice"`: the trainer is a `Chooses`.

        A strategy that needs what is not declared is refused where client and
        strategy meet, before anything is trained.
        """
        ...

    @property
    def layout(self) -> Layout:
        """Which tensor of the model lies where."""
        ...

    def initial(self, seed: int) -> Model:
        """The model before the first round."""
        ...

    def fit(
        self,
        model: Model,
        data: Samples,
        local: LocalTraining,
        *,
        seed: int,
        round: int,
        client: str,
    ) -> Fit:
        """Train a copy of the model on one client's data, in `local.steps(len(data))` steps.

        A trainer that declares `"correction"`, `"sample_noise"` or `"state"` takes
        one more argument for each, see `supports`.

        Args:
            model: the global model; it is not changed.
            data: the client's samples, at least one.
            local: how to train.
            seed: seed of the run.
            round: round number, from 1.
            client: stable name of the client. With `seed` and `round` it
                decides the order of the samples and all other randomness.

        Raises:
            ValueError: there are no samples, they do not fit the model, or
                training diverged. The error names the client.
        """
        ...

    def evaluate(self, model: Model, data: Samples) -> dict[str, float]:
        """Loss and metrics of a model: means over the samples, such as `{"loss": 0.4, "accuracy": 0.9}`.

        Raises:
            ValueError: there are no samples, or they do not fit the model.
        """
        ...


def check_learner(task: object) -> None:
    """Raises `ValueError` where it is neither a `Task` nor a `Trainer`."""
    if not isinstance(task, Task):
        parts = ("layout", "initial", "fit", "evaluate")
        checks.has(parts, "a Task, such as Task(MyModel), or a Trainer", task=task)


class Predicts(Trainer, Protocol):
    """A trainer that says what a model gives for samples of which nothing else is known."""

    def outputs(self, model: Model, x: NDArray[Any]) -> NDArray[np.float32]:
        """Scores of classes `(n, classes)`, or numbers `(n,)` or `(n, 1)`, for samples `(n, ...)`.

        Raises:
            ValueError: there are no samples, or they do not fit the model.
        """
        ...


class TrainsMany(Protocol):
    """A trainer that trains several clients at once, faster than one after another."""

    def fit_many(
        self,
        model: Model,
        clients: Sequence[tuple[str, Samples]],
        local: LocalTraining,
        *,
        seed: int,
        round: int,
        corrections: Mapping[str, Vector] | None = None,
    ) -> Iterator[tuple[str, Fit | FailedFit]]:
        """`fit` for each of these clients, in any order; a `FailedFit` holds what `fit` would have raised.

        The same call gives the same bits. Who else is there may show in the
        last bits of a client's fit, never more than 1e-5.
        """
        ...


class Way(Protocol):
    """How clients are trained, and why so."""

    @property
    def method(self) -> str:
        """How, in a word: `"loop"` or `"batch"`."""
        ...

    @property
    def why(self) -> str:
        """Why so, for a person."""
        ...

    @property
    def batch_clients(self) -> int:
        """How many are trained side by side; 1 for one after another."""
        ...

    @property
    def splittable(self) -> bool:
        """Whether a client gets the same bits in any company, and all take about as long."""
        ...

    def to_json(self) -> dict[str, Any]:
        """What JSON can hold, and the trainer's module can read again."""
        ...


class Chooses(Protocol):
    """A trainer that has to choose how it trains, once for all processes of a run."""

    @property
    def choice(self) -> Way | None:
        """What was chosen; `None` before that."""
        ...

    def choose(
        self,
        model: Model,
        clients: Sequence[tuple[str, Samples]],
        local: LocalTraining,
        *,
        seed: int,
        round: int,
    ) -> Way:
        """Choose, by training some of these clients, unless it is chosen."""
        ...
