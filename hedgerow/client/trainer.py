"""The interface for training and evaluating a model on a client's data."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hedgerow import checks
from hedgerow.client.task import Task
from hedgerow.types import FailedFit, Fit, Layout, LocalTraining, Model, Samples, Vector


class Trainer(Protocol):
    """Trains and evaluates one task; every back end obeys the same contract.

    Nothing is remembered between calls: a result depends only on the arguments
    (which may include a client's `state`). Two back ends agree to 1e-5; one
    back end gives the same bits for the same arguments, in any process of one
    machine.
    """

    @property
    def supports(self) -> frozenset[str]:
        """The names of what `fit` supports beyond plain SGD; a trainer that declares none supports none.

        Plain SGD is `learning_rate`, `learning_rate_decay`, `epochs` and
        `batch_size` of `LocalTraining`. Beyond that, the names are

        - `"adam"`, `"momentum"`, `"weight_decay"`, `"proximal"`,
          `"clip_gradient"` and `"clip_samples"`: that setting of `LocalTraining`;
        - `"max_steps"`: that setting too, in `LocalTraining.steps`; `fit_many` takes `max_steps`, the most
          steps of some clients;
        - `"sample_noise"`: that setting too; `fit` then takes `seeded_noise`,
          whether its noise is derived from the run's seed (in a simulation);
        - `"opacus"`: `sample_gradients = "opacus"` of `LocalTraining`;
        - `"correction"`: `fit` takes `correction`, added to every step's
          gradient, `(d,) float32`;
        - `"state"`: `fit` takes `state`, the arrays in the `state` of this
          client's last `Fit`, `{}` at first; they are kept with the rest of the
          client's state, and survive when a run is resumed;
        - `"outputs"`: the trainer is a `Predicts`;
        - `"many"`: the trainer is a `TrainsMany`; a client's state is for `fit` alone;
        - `"choice"`: the trainer is a `Chooses`.

        A strategy that needs an undeclared name is refused when the client is
        built, before anything is trained.
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
    """Raise `ValueError` if it is neither a `Task` nor a `Trainer`."""
    if not isinstance(task, Task):
        parts = ("layout", "initial", "fit", "evaluate")
        checks.has(parts, "a Task, such as Task(MyModel), or a Trainer", task=task)


class Predicts(Trainer, Protocol):
    """A trainer that can return a model's outputs for samples without targets."""

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
        max_steps: Mapping[str, int] | None = None,
    ) -> Iterator[tuple[str, Fit | FailedFit]]:
        """`fit` for each of these clients, in any order; a `FailedFit` holds what `fit` would have raised.

        A trainer that does not declare `"correction"` or `"max_steps"` is called without the argument.
        The same call gives the same bits. The other clients in the call may
        change a client's fit by its last bits, never by more than 1e-5.
        """
        ...


class Way(Protocol):
    """How clients are trained, and why."""

    @property
    def method(self) -> str:
        """The method: `"loop"` or `"batch"`."""
        ...

    @property
    def why(self) -> str:
        """The reason, for people to read."""
        ...

    @property
    def batch_clients(self) -> int:
        """How many are trained side by side; 1 for one after another."""
        ...

    @property
    def splittable(self) -> bool:
        """Whether a client gets the same bits whoever it is trained with, and all take about as long."""
        ...

    def to_json(self) -> dict[str, Any]:
        """As JSON values, which the trainer's module can read back."""
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
        """Choose, by training some of these clients, unless that was done before."""
        ...
