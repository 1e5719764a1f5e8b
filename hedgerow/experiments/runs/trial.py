"""Try an experiment's model and loss on one sample, before a run depends on them."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace

import numpy as np

from hedgerow.client.capabilities import alone, require
from hedgerow.datasets import DATASETS
from hedgerow.datasets.packing import DataFileError
from hedgerow.experiments.config.arguments import from_value_error
from hedgerow.experiments.config.errors import ConfigError, Mistake
from hedgerow.experiments.config.schema import Experiment
from hedgerow.types import LocalTraining, RunOptions, Samples


def try_out(experiments: Sequence[Experiment], source: str) -> Iterator[str]:
    """Try each different pair of data and model once, and yield what could not be tried.

    Raises:
        ConfigError: with everything that does not work, each reported once.
    """
    mistakes: list[Mistake] = []
    tried = set[str]()
    for experiment in experiments:
        parts, strategy = (experiment.data, experiment.model, experiment.run), experiment.strategy()
        trainings = [strategy.local, *([experiment.pretraining.local] if experiment.pretraining else [])]
        trained = [*(repr(tried_training(each)) for each in trainings), sorted(strategy.needs)]
        what = json.dumps([*(part.model_dump() for part in parts), experiment.seed, trained])
        if what not in tried:
            tried.add(what)
            try:
                mistakes += _try(experiment)
            except ImportError as error:
                yield f"model and loss are not tried: {error}"
            except OSError as error:  # such as no network, which is not a mistake in the configuration
                yield f"model and loss are not tried, because the data is not available here: {error}"
    if mistakes:
        raise ConfigError(mistakes, source)


def _try(experiment: Experiment) -> list[Mistake]:
    try:
        name, one = one_sample(experiment)
    except DataFileError as error:
        if experiment.data.name in DATASETS.names():
            raise OSError(str(error)) from error  # a download, which may work another time
        return [Mistake("data", str(error))]
    except ValueError as error:
        return [Mistake("data", str(error))]
    from hedgerow.experiments.runs.simulate import learner_of, start_of

    try:
        task = experiment.task()
    except ValueError as error:
        return [Mistake("model", str(error))]
    run = experiment.run.model_dump()
    try:
        trainer = learner_of(task, experiment.options(RunOptions()))
    except ValueError as error:
        key = next((key for key in run if str(error).startswith(f"{key} is ")), "")
        return [from_value_error(error, run, "run")] if key else [Mistake("model", str(error))]
    strategy = experiment.strategy()
    try:
        require(trainer, strategy)
    except ValueError as error:
        return [Mistake("strategy", str(error))]
    try:
        model, local = start_of(trainer, experiment.initial, experiment.seed), tried_training(strategy.local)
    except ValueError as error:
        return [Mistake("model", str(error))]
    more = alone(trainer, local)
    if any(stream.correction is not None for stream in strategy.streams):
        more["correction"] = np.zeros(trainer.layout.dimension, np.float32)

    def fit() -> None:
        trainer.fit(model, one, local, seed=experiment.seed, round=1, client=name, **more)
        trainer.evaluate(model, one)

    return _found(fit, local, "local", f"client {name!r}, round 1: ") or _pretrained(experiment, one)


def _pretrained(experiment: Experiment, one: Samples) -> list[Mistake]:
    """Mistakes in `[pretraining]`, in which the server trains with torch."""
    if experiment.pretraining is None:
        return []
    from hedgerow.client.task import Task
    from hedgerow.client.torch.trainer import TorchTrainer

    trainer, seed = TorchTrainer(Task(experiment.shaped())), experiment.seed
    local = tried_training(experiment.pretraining.local)

    def fit() -> None:
        trainer.fit(trainer.initial(seed), one, local, seed=seed, round=1, client="", **alone(trainer, local))

    return _found(fit, local, "pretraining.local", "client '', round 1: ")


def _found(fit: Callable[[], None], local: LocalTraining, path: str, who: str) -> list[Mistake]:
    """What fails, at the key of the training that its error begins with, else at the model."""
    try:
        fit()
    except ValueError as error:
        why = str(error).removeprefix(who)
        key = next((each.name for each in fields(local) if why.startswith(f"{each.name} ")), "")
        return [Mistake(f"{path}.{key}", why, getattr(local, key)) if key else Mistake("model", str(error))]
    return []


def tried_training(local: LocalTraining) -> LocalTraining:
    """One step of the same training; what a recipe may vary without another result is as by default.

    >>> tried_training(LocalTraining(epochs=5, learning_rate=1e9, momentum=0.9)).momentum
    0.9
    """
    usual = LocalTraining()
    return replace(
        local, epochs=1, max_steps=0, time_budget=0.0, learning_rate=usual.learning_rate,
        learning_rate_decay=usual.learning_rate_decay, sample_rate=1.0 if local.sample_noise else 0.0,
    )  # fmt: skip


def one_sample(experiment: Experiment) -> tuple[str, Samples]:
    """A client and one of its samples; a made-up one if only devices have the data."""
    if experiment.own_schema is not None and experiment.elsewhere:
        shape, classes = experiment.own_schema.input_shape, experiment.own_schema.classes
        return "device", Samples(
            np.zeros((1, *shape), np.float32), np.zeros(1, np.int64 if classes else np.float32)
        )
    federation = experiment.federation()
    name = federation.names[0]
    return name, federation.samples(name).take(np.arange(1))
