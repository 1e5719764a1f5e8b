"""Rebuild the model of a run from its recorded replies."""

from dataclasses import dataclass
from pathlib import Path

from hedgerow.experiments.runs.evaluate import experiment_of
from hedgerow.experiments.runs.simulate import measuring_trainer
from hedgerow.server.checkpoint import load_model, save_model
from hedgerow.server.recording import FOLDER, Recorder
from hedgerow.server.replay import replay


@dataclass(frozen=True)
class Replayed:
    """The result of a replay.

    Attributes:
        first: the round after which recording began; 0 is the initial model.
        last: the last recorded round.
        recorded_bytes: size of the recording on disk.
        same: whether the model is that of the run, bit for bit.
    """

    first: int
    last: int
    recorded_bytes: int
    same: bool


def replay_run(folder: Path, out: Path | None = None) -> Replayed:
    """Rebuild a run's model without training, and compare it with the run's own.

    Args:
        folder: of the run.
        out: where to write the model; `None` writes none.

    Raises:
        StoreError: there is no run in the folder, or it has no model yet.
        RecordingError: it was not recorded, or a round is missing or cannot be read.
        OSError: the model cannot be written.
    """
    experiment = experiment_of(folder)
    layout, strategy = measuring_trainer(experiment).layout, experiment.strategy()
    split = strategy.split(layout)
    recorder = Recorder(folder / FOLDER, split.shared, experiment.seed)
    first = recorder.start().round
    for state in replay(recorder, strategy):
        last = state
    model = load_model(folder, layout)
    # Personal layers are those that the run began with, which its model contains.
    again = split.join(last.model, split.own_part(model))
    if out is not None:
        save_model(out, again, layout)
    size = sum(file.stat().st_size for file in recorder.folder.rglob("*") if file.is_file())
    same = all(
        getattr(model, part).tobytes() == getattr(again, part).tobytes()
        for part in ("parameters", "buffers", "constants")
    )
    return Replayed(first, last.round, size, same)
