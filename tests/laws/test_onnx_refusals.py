"""What the trainer on ONNX Runtime refuses, each with a sentence; and what it needs of a device."""

import json
import math
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from torch import nn

from hedgerow.client.onnx.trainer import OnnxTrainer
from hedgerow.client.task import Task
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.graphs.bundle import EVALUATE, TRAIN, Graphs
from hedgerow.graphs.errors import BadGraphs
from hedgerow.types import LocalTraining, Model, Samples
from tests.laws.onnx_fits import WHO, graphs_of
from tests.laws.torch_fits import cnn_trainer, images

LOCAL = LocalTraining(batch_size=6, momentum=0.9)


@pytest.fixture(scope="module")
def graphs() -> Graphs:
    return graphs_of(cnn_trainer().task, LOCAL, images(6))


@pytest.fixture(scope="module")
def model() -> Model:
    return cnn_trainer().initial(5)


def test_it_supports_exactly_what_the_graph_has(graphs):
    trainer = OnnxTrainer(graphs)
    assert trainer.supports == {"max_steps", "momentum", "outputs"}
    assert trainer.layout.fingerprint == cnn_trainer().layout.fingerprint
    assert trainer.layout.norms == cnn_trainer().layout.norms
    data, task = images(6), Task(lambda: nn.Sequential(nn.Flatten(), nn.Linear(256, 10)))
    full = LocalTraining(
        batch_size=6, optimizer="adam", weight_decay=0.1, proximal=0.1, clip_gradient=1.0, clip_samples=1.0
    )
    found = OnnxTrainer(graphs_of(task, full, data, correction=True)).supports
    assert found == full.needs | {"outputs", "correction", "max_steps"}


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"momentum": 0.5}, "momentum is 0.5, and the graph was exported with 0.9; train with that, or"),
        ({"batch_size": 10}, "batch_size is 10, and the graph was exported with 6"),
        ({"proximal": 0.1}, r"proximal is 0.1, and the graph was exported with 0\.0"),
        (
            {"optimizer": "adam", "momentum": 0.0},
            "optimizer is 'adam', and the graph was exported with 'sgd'",
        ),
        (
            {"clip_samples": 1.0, "sample_noise": 1.0, "sample_rate": 0.5, "sample_delta": 1e-5},
            "clip_samples is 1.0, and",
        ),
    ],
    ids=str,
)
def test_other_settings_are_refused_with_what_is_given_and_allowed(graphs, model, settings, text):
    with pytest.raises(ValueError, match=f"^client 'a', round 2: {text}"):
        OnnxTrainer(graphs).fit(model, images(6), LocalTraining(**{**vars(LOCAL), **settings}), **WHO)


def test_what_no_graph_has_is_named(model):
    clipped = LocalTraining(batch_size=6, clip_samples=1.0)
    trainer = OnnxTrainer(graphs_of(cnn_trainer().task, clipped, images(6)))
    noisy = {"sample_noise": 1.0, "sample_rate": 0.5, "sample_delta": 1e-5}
    for more, named in (({"sample_gradients": "opacus"}, "opacus"), (noisy, "sample_noise")):
        with pytest.raises(ValueError, match=f"training needs {named}, which no graph has"):
            trainer.fit(model, images(6), LocalTraining(**{**vars(clipped), **more}), **WHO)
    with pytest.raises(ValueError, match="the graph takes no correction"):
        trainer.fit(model, images(6), clipped, **WHO, correction=np.zeros_like(model.parameters))


@pytest.mark.parametrize(
    "trainer_of", [lambda graphs: OnnxTrainer(graphs), lambda _: cnn_trainer()], ids=["onnx", "torch"]
)
def test_bad_data_are_refused_as_torchs_trainer_refuses_them(graphs, model, trainer_of):
    good = images(5)
    cases = {
        "client 'a', round 2: there are no samples": good.take(np.arange(0)),
        r"client 'a', round 2: the model or its loss fails on samples of shape \(1, 9, 9\) \(float32\)": (
            Samples(np.zeros((5, 1, 9, 9), np.float32), good.y)
        ),
        "client 'a', round 2: x is uint8; it must be float32": Samples(good.x.astype(np.uint8), good.y),
        r"round 2: the model or its loss fails .* with targets \(int64\) from 6 to 10:.*out of bounds": (
            Samples(good.x, np.arange(6, 11))
        ),
        r"round 2: the model or its loss fails .* with targets \(int64\) from -1 to 3:.*out of bounds": (
            Samples(good.x, np.arange(-1, 4))
        ),
        "client 'a', round 2: training diverged.*finite": Samples(good.x * np.float32(np.nan), good.y),
    }
    for message, data in cases.items():
        with pytest.raises(ValueError, match=message) as caught:
            trainer_of(graphs).fit(model, data, LOCAL, **WHO)
        assert "\n" not in str(caught.value)
    one = LocalTraining(batch_size=6, momentum=0.9, learning_rate=3e38)
    with pytest.raises(ValueError, match=r"diverged \(loss \d.*learning rate was 3e\+38"):
        trainer_of(graphs).fit(model, Samples(good.x * 1000, good.y), one, **WHO)
    with pytest.raises(ValueError, match="evaluation: there are no samples"):
        trainer_of(graphs).evaluate(model, good.take(np.arange(0)))
    with pytest.raises(ValueError, match="prediction: there are no samples"):
        trainer_of(graphs).outputs(model, good.x[:0])


@pytest.mark.parametrize(
    "trainer_of", [lambda graphs: OnnxTrainer(graphs), lambda _: cnn_trainer()], ids=["onnx", "torch"]
)
def test_a_model_of_another_layout_is_refused_as_torchs_trainer_does(graphs, trainer_of):
    trainer, data = trainer_of(graphs), images(5)
    d = trainer.layout.dimension
    with pytest.raises(ValueError, match=f"has float32 of shape \\({d},\\)"):
        trainer.evaluate(Model(np.zeros(d + 1, np.float32)), data)
    with pytest.raises(ValueError, match="buffers"):
        trainer.fit(Model(np.zeros(d, np.float32), np.zeros(1, np.float32)), data, LOCAL, **WHO)


def test_numbers_that_are_no_probabilities_are_refused():
    data = Samples(np.zeros((4, 3), np.float32), np.full((4, 2), 0.5, np.float32))
    task = Task(lambda: nn.Linear(3, 2), metrics={})
    trainer, model = OnnxTrainer(graphs_of(task, LOCAL, data)), TorchTrainer(task).initial(0)
    assert trainer.fit(model, data, LOCAL, **WHO).num_examples == 4
    with pytest.raises(ValueError, match="probabilities, which must add up to 1"):
        trainer.fit(model, Samples(data.x, data.y * 2), LOCAL, **WHO)


@pytest.mark.parametrize("word", [-1, 10])
def test_a_word_that_there_is_not_is_refused_as_torchs_trainer_does(word):
    task = Task(lambda: nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(12, 2)))
    data = Samples(np.arange(12).reshape(4, 3) % 10, np.zeros(4, np.int64))
    wrong = Samples(np.where(data.x == 5, word, data.x), data.y)
    for trainer in (OnnxTrainer(graphs_of(task, LOCAL, data)), TorchTrainer(task)):
        with pytest.raises(
            ValueError, match=r"a', round 2: the model or its loss fails on samples of shape \(3,\)"
        ):
            trainer.fit(TorchTrainer(task).initial(0), wrong, LOCAL, **WHO)


def test_a_graph_has_no_model_to_start_from(graphs):
    with pytest.raises(ValueError, match="holds no values to start from; take the server's model"):
        OnnxTrainer(graphs).initial(0)


def changed(graphs: Graphs, change: Callable[[Any], None]) -> Graphs:
    """The graphs under another manifest."""
    manifest = json.loads(graphs.described)
    change(manifest["graphs"])
    return Graphs(json.dumps(manifest).encode(), graphs.train, graphs.evaluate)


def port(graphs: Any, name: str, graph: str = TRAIN, way: str = "inputs") -> Any:
    return next(each for each in graphs[graph][way] if each["name"] == name)


def drawn(graphs: Any, probability: Any, axis: Any) -> None:
    port(graphs, "velocity").update(probability=probability, axis=axis)


FALSE: dict[str, Callable[[Any], None]] = {
    "is of kind 'evaluate'": lambda g: g.update({TRAIN: {**g[EVALUATE], "sha256": g[TRAIN]["sha256"]}}),
    "it has no 'layout'": lambda g: g[TRAIN].pop("layout"),
    r"momentum is 7": lambda g: g[TRAIN]["local"].update(momentum=7),
    "takes 'velocity', float32 of shape \\(3,\\)": lambda g: port(g, "velocity").update(shape=[3]),
    "takes 'exit', float32": lambda g: port(g, "velocity").update(name="exit"),
    "does not take 'mask'": lambda g: g[TRAIN]["inputs"].remove(port(g, "mask")),
    "is 'float16' of shape": lambda g: port(g, "x").update(dtype="float16"),
    "of whole sizes": lambda g: port(g, "x").update(shape=[6, -1]),
    "no 'new/parameters'": lambda g: g[TRAIN]["outputs"].remove(port(g, "new/parameters", way="outputs")),
    "another form of 'loss'": lambda g: port(g, "loss", EVALUATE, "outputs").update(shape=[2]),
    "compute in float64 and float64": lambda g: [
        each.update(dtype="float64")
        for name in (TRAIN, EVALUATE)
        for way in ("inputs", "outputs")
        for each in g[name][way]
        if each["dtype"] == "float32"
    ],
    "are of different models": lambda g: g[EVALUATE]["layout"]["norms"].append("x"),
    "it has no 'momentum'": lambda g: g[TRAIN]["local"].pop("momentum"),
    "6 rows, and batch_size is 5": lambda g: g[TRAIN]["local"].update(batch_size=5),
    "a sum is one number": lambda g: port(g, "sum/accuracy", EVALUATE, "outputs").update(shape=[1]),
    "is drawn with probability 2 and": lambda g: drawn(g, 2, 0),
    "samples in dimension 1 of the shape": lambda g: drawn(g, 0.5, 1),
    "dimension 0 cannot count 6 samples": lambda g: drawn(g, 0.5, 0),
    "takes 'mask', bool of shape \\(\\)": lambda g: (port(g, "mask").update(shape=[]), drawn(g, 0.5, 0)),
    "takes 'mask', bool of shape \\(0,\\)": lambda g: (port(g, "mask").update(shape=[0]), drawn(g, 0.5, 0)),
    "\\[inf\\] is no shape": lambda g: g[TRAIN]["layout"]["parameters"][0].update(shape=[math.inf]),
    "x of different shapes": lambda g: port(g, "x", EVALUATE).update(shape=[6, 2]),
}


@pytest.mark.parametrize("text", FALSE)
def test_a_false_manifest_is_refused_before_anything_is_loaded(graphs, text):
    with pytest.raises(BadGraphs, match=text) as caught:
        OnnxTrainer(changed(graphs, FALSE[text]))
    assert "\n" not in str(caught.value)


def test_a_graph_that_takes_something_else_than_its_manifest_says_is_refused(graphs, model):
    def wider(told: Any) -> None:
        for name in ("x", "y", "mask"):
            port(told, name)["shape"][0] = 7
        told[TRAIN]["local"]["batch_size"] = 7

    with pytest.raises(BadGraphs, match="other tensors than its manifest says"):
        OnnxTrainer(changed(graphs, wider)).fit(
            model, images(6), LocalTraining(batch_size=7, momentum=0.9), **WHO
        )


def test_what_is_no_graph_is_refused_when_it_is_loaded(graphs, model):
    told = {name: dict(each) for name, each in graphs.manifest["graphs"].items()}
    broken = Graphs.of({}, told[TRAIN], b"junk", told[EVALUATE], graphs.train[:500])
    with pytest.raises(BadGraphs, match="ONNX Runtime cannot load the graph"):
        OnnxTrainer(broken).fit(model, images(6), LOCAL, **WHO)
    with pytest.raises(BadGraphs, match="ONNX Runtime cannot load the graph"):
        OnnxTrainer(broken).evaluate(model, images(6))


DEVICE = """
import sys
from pathlib import Path
import numpy as np
from hedgerow.client.onnx.trainer import OnnxTrainer
from hedgerow.graphs.bundle import Graphs
from hedgerow.types import LocalTraining, Model, Samples

folder = Path(sys.argv[1])
held = np.load(folder / "held.npz")
trainer = OnnxTrainer(Graphs.read(folder))
model, data = Model(held["model"]), Samples(held["x"], held["y"])
fit = trainer.fit(model, data, LocalTraining(batch_size=6, momentum=0.9), seed=3, round=2, client="a")
trainer.evaluate(model, data)
(folder / "delta").write_bytes(fit.delta.tobytes())
print(sorted({"torch", "flwr", "onnx"} & set(sys.modules)))
"""


def test_a_device_trains_to_the_same_bits_without_torch_flower_and_onnx(graphs, model, tmp_path):
    data = images(20)
    graphs.write(tmp_path)
    np.savez(tmp_path / "held.npz", model=model.parameters, x=data.x, y=data.y)
    done = subprocess.run(
        [sys.executable, "-c", DEVICE, tmp_path], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
    here = pickle.loads(pickle.dumps(OnnxTrainer(graphs))).fit(model, data, LOCAL, **WHO)
    assert (tmp_path / "delta").read_bytes() == here.delta.tobytes()
