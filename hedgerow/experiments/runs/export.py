"""An experiment's local step, and its evaluation, as graphs in a folder."""

from pathlib import Path

from hedgerow import extras
from hedgerow.experiments.config.errors import CommandError
from hedgerow.experiments.config.schema import Experiment
from hedgerow.experiments.runs.simulate import start_of
from hedgerow.experiments.runs.trial import one_sample
from hedgerow.graphs.bundle import Graphs
from hedgerow.graphs.personal import personal_part


def write_graphs(experiment: Experiment, folder: Path) -> dict[str, int]:
    """Write both graphs, and a manifest of them; the sizes in bytes, by name of the file.

    Args:
        experiment: whose step.
        folder: is made; nothing in it is overwritten.

    Raises:
        CommandError: there is something in the folder.
        ModuleNotFoundError: an extra is not installed.
        ValueError: the model, its loss or its training cannot be written as a graph.
    """
    for module in ("onnx", "torch"):
        extras.require(module)
    if folder.is_dir() and any(folder.iterdir()):
        raise CommandError(f"{folder} is not empty; take another folder, or empty it")
    from hedgerow.client.torch.trainer import TorchTrainer
    from hedgerow.export.exporting import SampleForm, export_evaluation, export_training

    strategy = experiment.strategy()
    _, one = one_sample(experiment)
    form = SampleForm.of(one)
    corrected = any(stream.correction is not None for stream in strategy.streams)
    task, local = experiment.task(), strategy.local
    train = export_training(task, local, form, correction=corrected)
    evaluate = export_evaluation(task, form, batch_size=local.batch_size)
    trainer = TorchTrainer(task)
    split, start = strategy.split(trainer.layout), start_of(trainer, None, experiment.seed)
    about = {"recipe": experiment.name, **personal_part(split, start, experiment.seed)}
    return Graphs.of(about, train.manifest, train.content, evaluate.manifest, evaluate.content).write(folder)
