"""The memory that a graph is said to take is what ONNX Runtime takes at most, and no wild guess."""

import json
import subprocess
import sys

import pytest

import hedgerow as hr
from hedgerow.export.exporting import SampleForm, export_training
from hedgerow.graphs.inspection import graph_of
from hedgerow.graphs.walk import Walk
from hedgerow.models import build

MEASURE = """
import json, re, sys
import numpy as np, onnxruntime

def taken(key):
    return 1024 * int(re.search(key + r":\\s+(\\d+)", open("/proc/self/status").read())[1])

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
given = {name: np.ones(shape, dtype) for name, shape, dtype in json.loads(sys.argv[2])}
open("/proc/self/clear_refs", "w").write("5")
before = taken("VmRSS")
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
for _ in range(3):
    session.run(None, given)
print(taken("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a process's peak is read from /proc")
@pytest.mark.parametrize(
    ("model", "shape", "clip"), [("mlp-2nn", (784,), 1.0), ("cnn-fedavg", (1, 28, 28), 0.0)]
)
def test_a_run_takes_no_more_memory_than_is_said(tmp_path, model, shape, clip):
    """Of all shipped models, these two came nearest to what is said."""
    local = hr.LocalTraining(batch_size=32, learning_rate=0.1, momentum=0.9, clip_samples=clip)
    task = hr.Task(build(model, input_shape=shape, num_classes=10))
    graph = export_training(task, local, SampleForm(shape))
    (tmp_path / "train.onnx").write_bytes(graph.content)
    inputs = json.dumps([(each["name"], each["shape"], each["dtype"]) for each in graph.manifest["inputs"]])
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "train.onnx"), inputs]
    measured = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    told = Walk(graph_of(graph.content)[0], 2**40).needed
    assert measured < told < 4 * measured
