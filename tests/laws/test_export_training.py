"""A graph's steps are torch's: to 1e-10 in float64, and in float32 as near as torch itself comes."""

import json
from copy import deepcopy

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from hedgerow.client.task import Task
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.models import MODELS, build
from hedgerow.types import LocalTraining, Samples
from tests.laws.export_steps import by_torch, exported, stepped
from tests.onnx_runs import run

SERIES, IMAGES, TEXT = (3, 16), (1, 16, 16), (7,)
SHIPPED = {
    "logistic": (IMAGES, {}),
    "mlp-2nn": (IMAGES, {"hidden": 20}),
    "cnn-fedavg": (IMAGES, {}),
    "cnn-small": (IMAGES, {"hidden": 20}),
    "cnn-1d": (SERIES, {"width": 8}),
    "resnet-gn-tiny": (IMAGES, {"width": 8}),
    "gru-char": (TEXT, {"hidden": 16}),
    "lstm-char": (TEXT, {"hidden": 16}),
}


def samples(shape: tuple[int, ...], n: int = 5, classes: int = 10) -> Samples:
    rng = np.random.default_rng(3)
    x = (
        rng.integers(0, classes, (n, *shape))
        if shape == TEXT
        else rng.normal(size=(n, *shape)).astype("float32")
    )
    return Samples(x, rng.integers(0, classes, n))


def shipped(name: str) -> tuple[Task, Samples]:
    shape, options = SHIPPED[name]
    return Task(build(name, input_shape=shape, num_classes=10, **options)), samples(shape)


def local(**settings) -> LocalTraining:
    return LocalTraining(**{"batch_size": 6, "learning_rate": 0.1, **settings})


def check(
    task: Task, data: Samples, training: LocalTraining, steps: int = 2, corrected: bool = False
) -> None:
    """Of five samples in a batch of six: one row is filled up."""
    model = TorchTrainer(task).initial(1)
    moved = np.random.default_rng(4).normal(size=len(model.parameters)).astype("float32")
    correction = 0.01 * moved if corrected else None
    given = {"steps": steps, "correction": correction}
    exact = by_torch(task, model, training, data, torch.float64, **given)
    double = exported(task, training, data, correction=corrected, dtype="float64")
    found, _, _ = stepped(double, model, training, data, **given)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-10)
    single, _, _ = stepped(
        exported(task, training, data, correction=corrected), model, training, data, **given
    )
    ours = np.linalg.norm(single - exact)
    theirs = np.linalg.norm(by_torch(task, model, training, data, torch.float32, **given) - exact)
    assert ours <= 4 * theirs
    assert np.linalg.norm(exact - model.parameters) > 1e4 * ours  # it has moved, and much


@pytest.mark.parametrize("name", MODELS.names())
def test_a_shipped_model_takes_torchs_step(name):
    check(*shipped(name), local())


@pytest.mark.parametrize(
    "settings",
    [
        {"momentum": 0.9},
        {"weight_decay": 0.1, "proximal": 0.5},
        {"clip_gradient": 0.1},
        {"clip_samples": 0.3},
        {"optimizer": "adam", "learning_rate": 0.01},
        {"momentum": 0.5, "weight_decay": 0.01, "proximal": 0.1, "clip_gradient": 0.5},
    ],
    ids=str,
)
def test_every_setting_is_torchs(settings):
    check(*shipped("cnn-small"), local(**settings), steps=3)


def test_a_correction_is_added_to_every_gradient():
    check(*shipped("mlp-2nn"), local(momentum=0.5, clip_gradient=0.1), steps=3, corrected=True)


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(10, 16, padding_idx=0)
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, activation="gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.scores = nn.Linear(16, 10, bias=False)
        self.scores.weight = self.embedding.weight

    def forward(self, x):
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1], dtype=self.scores.weight.dtype)
        return self.scores(self.encoder(self.embedding(x), mask, is_causal=True)).transpose(1, 2)


class InPlace(nn.Module):
    """What is done in place, and frozen."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, stride=2).requires_grad_(False)
        self.up = nn.ConvTranspose2d(4, 4, 2, groups=2)
        self.last = nn.Linear(16, 10)

    def forward(self, x):
        h = nn.functional.relu(self.first(x), inplace=True)
        h = nn.functional.silu(self.up(h))
        h[:, 0] *= 2
        h += 0.1
        return self.last(nn.functional.adaptive_avg_pool2d(nn.functional.avg_pool2d(h, 2), 2).flatten(1))


@pytest.mark.parametrize("clip", [0.0, 0.5])
def test_a_transformer_of_tied_weights_takes_torchs_step(clip):
    data = samples(TEXT)
    check(Task(Transformer), Samples(data.x, np.roll(data.x, -1, 1)), local(clip_samples=clip))


def test_frozen_layers_and_what_is_done_in_place_are_torchs():
    check(Task(InPlace), samples(IMAGES), local(momentum=0.9))


@pytest.mark.parametrize("size", [(2, 2), (2, 4), (3, 2)], ids=str)
def test_the_first_of_equal_values_in_a_pools_window_has_the_gradient_as_in_torch(size):
    """Pictures of three values are full of ties; 16 rows are not divisible by three."""
    data = samples(IMAGES)
    equal = Samples(np.sign(np.round(data.x)), data.y)
    pooled = nn.Sequential(nn.Conv2d(1, 2, 1), nn.MaxPool2d(size), nn.Flatten(), nn.LazyLinear(10))
    pooled(torch.zeros(1, *IMAGES))
    check(Task(lambda: deepcopy(pooled)), equal, local())


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(8, 3, 3, stride=2, padding=1), (8, 9, 8)),
        (nn.Conv2d(9, 3, (1, 2), dilation=(1, 2), padding=(0, 1)), (9, 5, 6)),
        (nn.Conv1d(8, 3, 4, stride=3), (8, 16)),
        (nn.ConvTranspose2d(3, 8, 3, stride=2, padding=1, output_padding=1), (3, 4, 4)),
        (nn.Conv2d(16, 8, 3, groups=2), (16, 5, 5)),
    ],
    ids=str,
)
def test_the_weights_of_a_wide_convolution_have_torchs_gradient(layer, shape):
    net = nn.Sequential(deepcopy(layer), nn.Flatten(), nn.LazyLinear(10))
    net(torch.zeros(1, *shape))
    check(Task(lambda: deepcopy(net)), samples(shape), local())


def test_numbers_are_learned_by_a_loss_of_the_tasks_own():
    rng = np.random.default_rng(0)
    data = Samples(rng.normal(size=(5, 4)).astype("float32"), rng.normal(size=(5, 1)).astype("float32"))
    net = nn.Sequential(nn.Linear(4, 8), nn.Softplus(), nn.LayerNorm(8), nn.ELU(), nn.Linear(8, 1))
    task = Task(lambda: deepcopy(net), loss=nn.functional.smooth_l1_loss)
    check(task, data, local())


def test_targets_that_are_not_counted_and_probabilities_are_torchs():
    task, data = shipped("logistic")
    check(task, Samples(data.x, np.where(np.arange(5) == 2, -100, data.y)), local())
    shares = np.random.default_rng(0).dirichlet(np.ones(10), 5).astype("float32")
    check(task, Samples(data.x, shares), local())


def batch_norm_task() -> Task:
    return Task(build("cnn-1d", input_shape=SERIES, num_classes=10, width=8, batch_norm=True))


@pytest.mark.parametrize("rows", [6, 5, 1])
def test_batch_norm_sees_the_samples_and_not_what_the_batch_is_filled_up_with(rows):
    """A single sample is normalised by the running statistics, as the trainer has it."""
    task, data, steps = batch_norm_task(), samples(SERIES, rows), 3
    trainer, training = TorchTrainer(task), local(epochs=3)
    model = trainer.initial(1)
    parameters, buffers, loss = stepped(exported(task, training, data), model, training, data, steps=steps)
    fitted = trainer.fit(model, data, training, seed=0, round=1, client="a")
    np.testing.assert_allclose(parameters - model.parameters, fitted.delta, atol=2e-6)
    np.testing.assert_allclose(buffers, fitted.buffers, rtol=2e-6, atol=2e-6)
    assert (buffers == model.buffers).all() == (rows == 1)
    assert loss < 10


def test_what_a_batch_is_filled_up_with_has_no_part_in_the_step():
    task, data, training = batch_norm_task(), samples(SERIES, 6), local()
    model, graph = TorchTrainer(task).initial(1), exported(task, training, data)
    feeds = {
        "parameters": model.parameters, "buffers": model.buffers, "x": data.x, "y": data.y,
        "mask": np.arange(6) < 4, "learning_rate": np.float32(0.1).reshape(()),
    }  # fmt: skip
    first = run(graph.content, feeds)
    second = run(graph.content, {**feeds, "x": np.where(feeds["mask"][:, None, None], data.x, np.float32(7))})
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name])


def dropout_net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 5), nn.Dropout2d(0.25), nn.Flatten(), nn.Dropout(0.4), nn.Linear(576, 10)
    )


@pytest.mark.parametrize("clip", [0.0, 0.5])
def test_what_dropout_keeps_is_an_input_with_its_probability(clip):
    data, training = samples(IMAGES, 6), local(clip_samples=clip)
    task = Task(dropout_net)
    graph = exported(task, training, data)
    draws = [each for each in graph.manifest["inputs"] if "probability" in each]
    assert [(each["name"], each["probability"]) for each in draws] == [("draw_0", 0.75), ("draw_1", 0.6)]
    assert [np.prod(each["shape"]) for each in draws] == [6 * 4, 6 * 576]
    rng = np.random.default_rng(1)
    drawn = {
        each["name"]: (rng.random(each["shape"]) < each["probability"]).astype("float32") for each in draws
    }
    model = TorchTrainer(task).initial(1)
    found, _, _ = stepped(graph, model, training, data, drawn=drawn)

    class Kept(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = dropout_net()
            self.at = 0

        def forward(self, x):
            rows = slice(self.at, self.at + len(x))
            self.at = (self.at + len(x)) % 6
            kept = [
                torch.from_numpy(d.reshape(6, *d.shape[-3:] if d.ndim > 3 else (-1,)))[rows]
                for d in drawn.values()
            ]
            h = self.net[2](self.net[0](x) * kept[0].reshape(len(x), 4, 1, 1) / 0.75)
            return self.net[4](h * kept[1].reshape(h.shape) / 0.6)

    expected = by_torch(Task(Kept), model, training, data, torch.float32)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_equal_exports_have_equal_bytes_and_the_manifest_is_in_them():
    task, data = shipped("cnn-small")
    first, second = (exported(task, local(momentum=0.9), data) for _ in range(2))
    assert first.content == second.content
    model = onnx.load_model_from_string(first.content)
    (prop,) = model.metadata_props
    assert {**json.loads(prop.value), "sha256": first.manifest["sha256"]} == first.manifest
    assert not any(each.external_data for each in model.graph.initializer)
    assert len(first.content) < 20_000  # none of the model's values are in it


@pytest.mark.parametrize("name", ["mlp-2nn", "cnn-1d", "lstm-char"])
def test_what_a_step_gives_is_no_copy_of_it(name):
    task, data = shipped(name)
    graph = onnx.ModelProto.FromString(exported(task, local(momentum=0.9), data).content).graph
    given = {output.name for output in graph.output}
    assert given == {"loss", "new/parameters", "new/velocity"}
    assert not [node for node in graph.node if node.op_type == "Identity" and given & {*node.output}]
