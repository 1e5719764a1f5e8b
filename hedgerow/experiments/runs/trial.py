"""Try an experiment's model and loss on one sample, before a run depends on them."""

import json
from collections.abc import Iterator, Sequence

import numpy as np

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
        parts = (experiment.data, experiment.model, experiment.run)
        needs = sorted(experiment.strategy().needs)
        what = json.dumps([*(part.model_dump() for part in parts), experiment.seed, needs])
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
    from hedgerow.client.capabilities import alone, require
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
    try:
        require(trainer, experiment.strategy())
    except ValueError as error:
        return [Mistake("strategy", str(error))]
    try:
        model = start_of(trainer, experiment.initial, experiment.seed)
        local = LocalTraining()
        more = alone(trainer, local)
        trainer.fit(model, one, local, seed=experiment.seed, round=1, client=name, **more)
        trainer.evaluate(model, one)
    except ValueError as error:
        return [Mistake("model", str(error))]
    return []


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
