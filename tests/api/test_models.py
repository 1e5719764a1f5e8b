"""Every shipped model: its size, its shapes, that it learns; and the user's own models."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from hedgerow.client.task import Task
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.models import MODELS, build
from hedgerow.types import LocalTraining, Samples

# name -> (input shape, classes, parameters)
EXPECTED = {
    "logistic": [((1, 28, 28), 10, 7_850), ((13,), 2, 28)],
    "mlp-2nn": [((1, 28, 28), 10, 199_210)],
    "cnn-fedavg": [((1, 28, 28), 10, 1_663_370), ((3, 32, 32), 10, 2_156_490)],
    "cnn-small": [((1, 28, 28), 10, 60_038), ((3, 32, 32), 10, 90_966)],
    "cnn-1d": [((6, 100), 7, 11_751)],
    "resnet-gn-tiny": [((1, 28, 28), 10, 77_562), ((3, 32, 32), 10, 77_850)],
    "gru-char": [((80,), 80, 63_952)],
    "lstm-char": [((80,), 80, 819_920), ((80,), 258, 867_090)],
}
CASES = [(name, *case) for name, cases in EXPECTED.items() for case in cases]


def samples(name: str, shape: tuple[int, ...], classes: int, n: int) -> Samples:
    """Few samples that can be told apart."""
    rng = np.random.default_rng(0)
    y = rng.integers(min(classes, 4), size=n)
    if name.endswith("-char"):
        x = np.repeat(y[:, None], shape[0], axis=1)
    else:
        x = (rng.normal(size=(4, *shape))[y] + 0.1 * rng.normal(size=(n, *shape))).astype(np.float32)
    return Samples(x, y)


def test_every_model_is_tested_here():
    assert set(MODELS.names()) >= set(EXPECTED)
    assert len(EXPECTED) == 8
    assert all(MODELS.summary(name).endswith(".") for name in EXPECTED)


@pytest.mark.parametrize(("name", "shape", "classes", "size"), CASES)
def test_parameters_and_shapes(name, shape, classes, size):
    factory = build(name, input_shape=shape, num_classes=classes)
    module = factory()
    assert sum(p.numel() for p in module.parameters()) == size
    with torch.no_grad():
        outputs = module(torch.from_numpy(samples(name, shape, classes, 3).x))
    assert outputs.shape == (3, classes)
    assert outputs.dtype == torch.float32
    assert not list(module.buffers())
    assert factory() is not module


@pytest.mark.parametrize("name", EXPECTED)
def test_each_model_learns_and_evaluates(name):
    shape, classes, _ = EXPECTED[name][0]
    shape = (12,) if name.endswith("-char") else shape
    trainer = TorchTrainer(Task(build(name, input_shape=shape, num_classes=classes)))
    data = samples(name, shape, classes, 24)
    model = trainer.initial(0)
    before = trainer.evaluate(model, data)
    local = LocalTraining(optimizer="adam", learning_rate=0.01, epochs=3, batch_size=4)
    delta = trainer.fit(model, data, local, seed=0, round=1, client="a").delta
    after = trainer.evaluate(type(model)(model.parameters + delta), data)
    assert after["loss"] < 0.8 * before["loss"]
    assert after["accuracy"] >= before["accuracy"]


def test_a_factory_can_be_pickled():
    factory = pickle.loads(
        pickle.dumps(build("cnn-small", input_shape=(1, 28, 28), num_classes=10, hidden=5))
    )
    assert factory().hidden.out_features == 5


def test_a_vocabulary_may_differ_from_the_classes():
    module = build("gru-char", input_shape=(80,), num_classes=5, vocabulary=9)()
    assert module.embedding.num_embeddings == 9
    assert module(torch.zeros(2, 80, dtype=torch.int64)).shape == (2, 5)


def test_naming_models_imports_no_torch():
    program = "import sys, hedgerow.models as m; m.MODELS.names(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2], check=True)


OWN = """
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.linear = nn.Linear(4, num_classes)

    def forward(self, x):
        return self.linear(x)

def plain():
    return nn.Linear(4, 2)

def full(input_shape, num_classes, width=3):
    return nn.Linear(input_shape[0] * width, num_classes)

def everything(**given):
    return nn.Linear(given["input_shape"][0], given["num_classes"])

def needy(depth):
    return nn.Linear(depth, 2)

def number():
    return 3

ready = plain()
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_models.py").write_text(OWN)
    (tmp_path / "broken.py").write_text("import not_there\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.parametrize("place", ["own_models.py", "own_models"])
def test_own_models_are_given_what_they_take(own, place):
    facts = {"input_shape": (4,), "num_classes": 6}
    assert build(f"{place}:Net", **facts)().linear.out_features == 6
    assert build(f"{place}:plain", **facts)().out_features == 2
    assert build(f"{place}:full", **facts)().in_features == 12
    assert build(f"{place}:full", **facts, width=5)().in_features == 20
    assert build(f"{place}:everything", **facts)().out_features == 6
    assert build(f"{place}:needy", **facts, depth=7)().in_features == 7
    factory = pickle.loads(pickle.dumps(build(f"{place}:Net", **facts)))
    assert isinstance(factory(), nn.Module)
    assert build(str(own / "own_models.py") + ":plain", **facts)().out_features == 2


BAD = {
    "cnn-smal": "there is no model 'cnn-smal'.*Did you mean 'cnn-small'",
    "missing.py:net": "model file 'missing.py' does not exist; looked for /",
    "broken.py:net": "broken.py fails: ModuleNotFoundError: No module named 'not_there'",
    "not_there:net": "model module 'not_there' cannot be imported",
    "own_models.py:plane": "own_models.py has no 'plane'. Did you mean 'plain'",
    "own_models:": "has no ''",
    "own_models.py:ready": "is a Linear object; it must be a function or class",
    "own_models.py:needy": "needs a value for 'depth'",
    "own_models.py:OWN": "has no 'OWN'",
}


@pytest.mark.parametrize("name", BAD)
def test_a_model_that_cannot_be_had_says_why(own, name):
    with pytest.raises(ValueError, match=BAD[name]):
        build(name, input_shape=(4,), num_classes=2)


def test_a_function_that_makes_no_module_is_refused_when_called(own):
    factory = build("own_models.py:number", input_shape=(4,), num_classes=2)
    with pytest.raises(ValueError, match=r"returned 3; it must return a torch\.nn\.Module"):
        factory()


def test_options_and_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"no option 'hiden'; its options: 'hidden'\. Did you mean 'hidden'"):
        build("mlp-2nn", input_shape=(4,), num_classes=2, hiden=3)
    for name, shape in [
        ("cnn-small", (28, 28)),
        ("cnn-small", (1, 15, 28)),
        ("cnn-fedavg", (1, 3, 3)),
        ("cnn-1d", (6,)),
        ("resnet-gn-tiny", (4,)),
    ]:
        with pytest.raises(ValueError, match=r"input_shape is .* this model takes"):
            build(name, input_shape=shape, num_classes=2)()
