"""What can train and evaluate a model on a client's data."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from hedgerow.client.task import Task
from hedgerow.types import Fit, Layout, LocalTraining, Model, Samples, Vector


class Trainer(Protocol):
    """Trains and evaluates one task; every back end keeps the same law.

    Nothing is remembered between calls: a result depends on the arguments
    alone. Two back ends agree to 1e-5; one back end gives the same bits for
    the same arguments, in any process of one machine.
    """

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
        correction: Vector | None = None,
    ) -> Fit:
        """Train a copy of the model on one client's data, in `local.steps(len(data))` steps.

        Args:
            model: the global model; it is not changed.
            data: the client's samples, at least one.
            local: how to train.
            seed: seed of the run.
            round: round number, from 1.
            client: stable name of the client. With `seed` and `round` it
                decides the order of the samples and all other randomness.
            correction: added to every step's gradient, `(d,)`. Only a strategy
                with control variates gives one.

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


@runtime_checkable
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
    ) -> Iterator[tuple[str, Fit | Exception]]:
        """`fit` for each of these clients, in any order; an exception in place of a fit that failed.

        The same call gives the same bits. Who else is there may show in the
        last bits of a client's fit, never more than 1e-5.
        """
        ...


class Way(Protocol):
    """How clients are trained, and why so."""

    @property
    def method(self) -> str:
        """In a word."""
        ...

    @property
    def why(self) -> str:
        """For a person."""
        ...

    @property
    def at_once(self) -> int:
        """How many are trained side by side; 1 for one after another."""
        ...

    def to_json(self) -> dict[str, Any]:
        """What JSON can hold, and the trainer's module can read again."""
        ...


@runtime_checkable
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


def trainer_of(task: Task | Trainer) -> Trainer:
    """The trainer of a task, which torch trains; a trainer as it is."""
    if isinstance(task, Task):
        from hedgerow.client.torch.trainer import TorchTrainer

        return TorchTrainer(task)
    return task
