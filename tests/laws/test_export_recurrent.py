"""Recurrent layers are loops in a graph, forward and backward, and take torch's step."""

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from hedgerow.client.task import Task
from hedgerow.export.errors import CannotExport
from hedgerow.types import Samples
from tests.laws.export_steps import exported
from tests.laws.test_export_training import check, local, shipped

LAYERS = {
    "GRU": lambda: nn.GRU(3, 5, batch_first=True),
    "GRU of two layers, both ways": lambda: nn.GRU(3, 4, 2, batch_first=True, bidirectional=True),
    "GRU without bias": lambda: nn.GRU(3, 5, bias=False, batch_first=True),
    "LSTM of two layers": lambda: nn.LSTM(3, 5, 2, batch_first=True),
    "LSTM without bias, both ways": lambda: nn.LSTM(3, 4, bias=False, batch_first=True, bidirectional=True),
    "RNN": lambda: nn.RNN(3, 5, batch_first=True),
    "RNN with ReLU, both ways": lambda: nn.RNN(
        3, 5, nonlinearity="relu", batch_first=True, bidirectional=True
    ),
    "time first": lambda: nn.LSTM(3, 5),
}


class Reading(nn.Module):
    """Scores from every time, from the last states, and from states that are learned."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        ways = 2 if layer.bidirectional else 1
        self.first = nn.Parameter(torch.randn(layer.num_layers * ways, 1, layer.hidden_size))
        self.scores = nn.Linear(layer.hidden_size * ways, 4)
        self.of_ends = nn.Linear(layer.hidden_size, 4)

    def forward(self, x):
        h = self.first.expand(-1, len(x), -1).contiguous()
        lstm, first = isinstance(self.layer, nn.LSTM), self.layer.batch_first
        series, ends = self.layer(x if first else x.transpose(0, 1), (h, 0.5 * h) if lstm else h)
        every = series if first else series.transpose(0, 1)
        return self.scores(every).mean(1) + sum(self.of_ends(e).sum(0) for e in (ends if lstm else [ends]))


def data(n: int = 5, time: int = 6) -> Samples:
    rng = np.random.default_rng(2)
    return Samples(rng.normal(size=(n, time, 3)).astype("float32"), rng.integers(0, 4, n))


def task(kind: str) -> Task:
    def make():
        torch.manual_seed(1)
        return Reading(LAYERS[kind]())

    return Task(make)


@pytest.mark.parametrize("kind", LAYERS)
def test_a_recurrent_layer_takes_torchs_step(kind):
    check(task(kind), data(), local(momentum=0.9), steps=3)


@pytest.mark.parametrize("kind", ["GRU", "LSTM of two layers", "RNN with ReLU, both ways"])
def test_samples_are_clipped_one_by_one(kind):
    check(task(kind), data(), local(clip_samples=0.3))


@pytest.mark.parametrize("name", ["gru-char", "lstm-char"])
def test_a_loop_is_as_large_for_a_long_series_as_for_a_short_one(name):
    made, short = shipped(name)
    long = Samples(np.tile(short.x, 20), short.y)
    graphs = [onnx.load_model_from_string(exported(made, local(), each).content) for each in (short, long)]
    nodes = [[node.op_type for node in graph.graph.node] for graph in graphs]
    assert nodes[0] == nodes[1]
    layers = 1 if name == "gru-char" else 2
    assert nodes[0].count("Scan") == 2 * layers


@pytest.mark.parametrize(
    ("layer", "told"),
    [
        (nn.LSTM(3, 5, proj_size=2), r"layer \(LSTM\): torch\.lstm with proj_size has no loop"),
        (nn.GRU(3, 5), "the model .*: a packed series has no loop"),
    ],
)
def test_what_has_no_loop_is_refused(layer, told):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, x):
            series = x.transpose(0, 1)
            if isinstance(self.layer, nn.GRU):
                series = nn.utils.rnn.pack_padded_sequence(series, torch.full((x.shape[0],), x.shape[1]))
            return self.layer(series)[1][0][-1]

    with pytest.raises(CannotExport, match=told):
        exported(Task(Net), local(), data())
