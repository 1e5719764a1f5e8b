"""The model that a run starts from, trained by the server on its own part of the data."""

import hashlib
import logging
from importlib.metadata import version
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from hedgerow.client.task import Task
from hedgerow.client.trainer import Trainer
from hedgerow.datasets.downloads import cache_folder
from hedgerow.experiments.config.schema import Experiment
from hedgerow.files import write_whole
from hedgerow.rng import integer_seed
from hedgerow.types import LocalTraining, Model, Samples

log = logging.getLogger("hedgerow")


def starting_model(experiment: Experiment) -> Model | None:
    """The pretrained model, with new adapters if there are any; `None` without `[pretraining]`.

    It is determined by the experiment and its seed. Once trained, it is cached in the
    folder `pretrained` of the cache (`HEDGEROW_DATA`), by the hash of everything that
    it depends on.

    Raises:
        ValueError: the data cannot be divided as configured, or training diverges.
    """
    if experiment.pretraining is None:
        return None
    from hedgerow.client.torch.module import module_with  # a coordinator may have no torch
    from hedgerow.client.torch.trainer import TorchTrainer

    own, _ = experiment.divided()
    assert own is not None
    factory = experiment.shaped()
    model = _pretrained(TorchTrainer(Task(factory)), own, experiment.pretraining.local, experiment.seed)
    if (frozen := experiment.around(module_with(factory, model))) is None:
        return model
    return TorchTrainer(Task(frozen)).initial(experiment.seed)


def _pretrained(trainer: Trainer, own: Samples, local: LocalTraining, run_seed: int) -> Model:
    start, seed = trainer.initial(run_seed), integer_seed(run_seed, "pretraining")
    arrays = (start.parameters, start.untrained, own.x, own.y)
    # The code of the model, not only its layers, because users may change their file.
    facts = (
        trainer.layout.fingerprint, trainer.evaluate(start, own), local, seed, version("torch"),
        [hashlib.blake2b(np.ascontiguousarray(a).tobytes()).hexdigest() for a in arrays],
    )  # fmt: skip
    key = hashlib.blake2b(repr(facts).encode(), digest_size=16).hexdigest()
    place = cache_folder() / "pretrained" / f"{key}.safetensors"
    found = _read(place)
    if found is None:
        log.info("the server trains on %d of its own samples", len(own))
        fit = trainer.fit(start, own, local, seed=seed, round=1, client="the server, in [pretraining]")
        found = Model(start.parameters + fit.delta, fit.buffers, start.constants)
        _keep(place, found)
    return found


def _read(place: Path) -> Model | None:
    try:
        return Model(**load_file(place))
    except (OSError, SafetensorError, TypeError):  # missing or damaged
        return None


def _keep(place: Path, model: Model) -> None:
    arrays = {"parameters": model.parameters, "buffers": model.buffers, "constants": model.constants}
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        write_whole(place, save(arrays))
    except OSError as error:
        log.warning("the pretrained model is not saved in %s: %s; the run continues", place.parent, error)
