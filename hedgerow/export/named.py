"""The trainer named `"onnx"`."""

from hedgerow import extras
from hedgerow.client.task import Task
from hedgerow.client.trainer import Trainer
from hedgerow.client.trainers import Computing


def onnx(task: Task, computing: Computing) -> Trainer:
    """ONNX Runtime, without torch where a run offers graphs; else the task's graphs are exported here.

    Raises:
        ModuleNotFoundError: an extra is not installed.
        ValueError: another device than the CPU, or another precision than float32, is asked for.
    """
    offered = computing.graphs
    for module in ("onnxruntime", *([] if offered else ["onnx"])):
        extras.require(module)
    if computing.on("cpu") != "cpu":
        raise ValueError(f"device is {computing.device!r}; the trainer 'onnx' computes on the 'cpu'")
    if computing.precision != "float32":
        raise ValueError(f"precision is {computing.precision!r}; the trainer 'onnx' computes in 'float32'")
    if offered is not None:
        from hedgerow.client.onnx.trainer import OnnxTrainer

        return OnnxTrainer(offered())
    from hedgerow.export.trainer import ExportingTrainer

    return ExportingTrainer(task)
