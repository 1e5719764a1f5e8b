"""A graph whose draws are filled by the rule takes the torch trainer's steps, over short batches too."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hedgerow.client.draws import Draws
from hedgerow.client.task import Task
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.export.errors import CannotExport
from hedgerow.export.exporting import Exported
from hedgerow.rng import generator
from hedgerow.types import LocalTraining, Model, Samples
from tests.laws.export_steps import exported
from tests.onnx_runs import run

WHERE = {"round": 3, "client": "a"}


class Convolutions(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.channels = nn.Conv2d(1, 4, 3), nn.Dropout2d(0.25)
        self.linear = nn.Linear(4 * 16, 4)

    def forward(self, x):
        hidden = F.alpha_dropout(self.channels(self.conv(x)).flatten(1), 0.2, self.training)
        return self.linear(F.dropout(hidden, 0.4))


class Encoder(nn.Module):
    """With batch first, or with time first, where the second dimension has the samples."""

    def __init__(self, batch_first):
        super().__init__()
        self.batch_first = batch_first
        self.embedding = nn.Linear(6, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 11, 0.1, F.gelu, batch_first=batch_first)
        self.scores = nn.Linear(8, 4)

    def forward(self, x):
        x = self.embedding(x.flatten(1, 2))
        x = self.layer(x) if self.batch_first else self.layer(x.transpose(0, 1)).transpose(0, 1)
        return self.scores(x.mean(1))


class Series(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.GRU(6, 5, 3, dropout=0.3)
        self.scores = nn.Linear(5, 4)

    def forward(self, x):
        return self.scores(self.layer(x.flatten(1, 2).transpose(0, 1))[0][-1])


class Weights(nn.Module):
    """Its weights are dropped, which are the same for every sample; and what is drawn has no part in it."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(36, 4)

    def forward(self, x):
        F.dropout(x, 0.5)
        return F.linear(x.flatten(1), F.dropout(self.linear.weight, 0.3))


MODELS = {
    "convolutions": Convolutions,
    "transformer": lambda: Encoder(True),
    "transformer, time first": lambda: Encoder(False),
    "layers of a GRU": Series,
    "weights": Weights,
}


def data(n: int) -> Samples:
    rng = np.random.default_rng(1)
    return Samples(rng.normal(size=(n, 1, 6, 6)).astype("float32"), rng.integers(0, 4, n))


def trained(graph: Exported, model: Model, data: Samples, local: LocalTraining) -> np.ndarray:
    """Parameters after local training by the graph: all that is known of the model is the manifest."""
    inputs = {each["name"]: each for each in graph.manifest["inputs"]}
    rows = graph.manifest["local"]["batch_size"]
    draws, shuffle = Draws(7, **WHERE), generator(7, "shuffle", **WHERE)
    parameters = model.parameters
    for _ in range(local.epochs):
        order = shuffle.permutation(len(data))
        for first in range(0, len(order), rows):
            index = order[first : first + rows]
            samples = len(index)
            filled = np.concatenate([index, np.zeros(rows - samples, np.int64)])
            feeds = {
                "parameters": parameters, "x": data.x[filled], "y": data.y[filled],
                "mask": np.arange(rows) < samples, "learning_rate": np.float32(local.learning_rate),
            }  # fmt: skip
            for name, each in inputs.items():
                if "probability" in each:
                    feeds[name] = draws.mask(
                        each["shape"], each["probability"], axis=each["axis"], rows=rows, samples=samples
                    ).astype(each["dtype"])
            parameters = run(graph.content, feeds)["new/parameters"]
    return parameters


@pytest.mark.parametrize("clip", [0.0, 0.4])
@pytest.mark.parametrize("name", MODELS)
def test_a_graph_drops_what_the_trainer_drops(name, clip):
    task, samples = Task(MODELS[name]), data(11)
    trainer, local = TorchTrainer(task), LocalTraining(batch_size=4, epochs=2, clip_samples=clip)
    if clip and name == "weights":
        local = LocalTraining(batch_size=4, clip_samples=clip)
    model = trainer.initial(1)
    fitted = trainer.fit(model, samples, local, seed=7, **WHERE)
    found = trained(exported(task, local, samples), model, samples, local) - model.parameters
    np.testing.assert_allclose(found, fitted.delta, rtol=0, atol=2e-6)
    assert np.abs(fitted.delta).max() > 1e-3


def test_the_manifest_says_where_the_samples_are():
    graph = exported(Task(MODELS["transformer, time first"]), LocalTraining(batch_size=4), data(4))
    draws = [each for each in graph.manifest["inputs"] if "probability" in each]
    assert [each["name"] for each in draws] == [f"draw_{k}" for k in range(4)]
    assert [(each["shape"], each["axis"]) for each in draws] == [
        ([4, 2, 6, 6], 0), ([6, 4, 8], 1), ([6, 4, 11], 1), ([6, 4, 8], 1),
    ]  # fmt: skip
    weights = exported(Task(Weights), LocalTraining(batch_size=4), data(4))
    assert [each["axis"] for each in weights.manifest["inputs"] if "probability" in each] == [0, None]


def test_other_draws_are_refused():
    class Noisy(nn.Module):
        def __init__(self, draw):
            super().__init__()
            self.linear, self.draw = nn.Linear(36, 4), draw

        def forward(self, x):
            return self.linear(x.flatten(1) + self.draw(x.flatten(1)))

    for draw in (torch.rand_like, lambda x: torch.empty_like(x).bernoulli_(0.3)):
        with pytest.raises(CannotExport, match=r"Noisy.*aten\.(rand|bernoulli)"):
            exported(Task(partial(Noisy, draw)), LocalTraining(batch_size=4), data(4))
