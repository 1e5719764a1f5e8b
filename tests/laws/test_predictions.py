"""What a model predicts: the same with and without torch, for tables, arrays and pictures."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file

from hedgerow.client.task import Task
from hedgerow.client.torch.exported import exported
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.models import build
from hedgerow.models.without_torch import forward
from hedgerow.node import prediction
from hedgerow.node.errors import NoTrainer
from hedgerow.node.prediction import CannotPredict, predict
from hedgerow.recipe.own_data import DoesNotFit, OwnSchema
from hedgerow.recipe.strategy import describe
from hedgerow.server.checkpoint import save_model
from hedgerow.strategies import fedavg, fedper

TABLE = OwnSchema(
    columns=("a", "b"), label="y", classes=("no", "yes"), scale=(10.0, 2.0), highest=(99.0, 9.0)
)
NUMBERS = OwnSchema(columns=("a", "b"), label="y")
PICTURES = OwnSchema(shape=(1, 2, 3), classes=("cat", "dog", "owl"))


def described(name: str, schema: OwnSchema, trainer: TorchTrainer, **changes) -> str:
    """The description of a run with that model."""
    shape = {"input_shape": list(schema.input_shape)}
    found = {
        "strategy": describe(fedavg()),
        "task": {
            "kind": schema.task, "lora": None,
            "model": {"name": name, "arguments": {**shape, "num_classes": schema.num_outputs}},
        },
        "data": {
            **schema.to_json(), **shape, "name": "own", "num_outputs": schema.num_outputs, "held_out": None,
            "held_out_by": "row",
        },
        "run": {"trainer": "loop", "precision": "float16"},
        "layout": trainer.layout.fingerprint,
        "seed": 0,
    }  # fmt: skip
    return json.dumps({**found, **changes})


@pytest.fixture
def saved(tmp_path):
    """Saves a new model of that name; its file, its description and the trainer."""

    def save(name: str, schema: OwnSchema, **changes):
        make = build(name, input_shape=schema.input_shape, num_classes=schema.num_outputs)
        trainer = TorchTrainer(Task(make))
        save_model(tmp_path / "model.safetensors", trainer.initial(1), trainer.layout)
        return tmp_path / "model.safetensors", described(name, schema, trainer, **changes), trainer

    return save


@pytest.fixture
def without_torch(monkeypatch):
    """As on a device that has none."""

    def none(run):
        raise NoTrainer("torch") from ImportError("No module named 'torch'", name="torch")

    monkeypatch.setattr(prediction, "evaluating_trainer", none)


@pytest.mark.parametrize("name", ["logistic", "mlp-2nn"])
def test_numpy_gives_what_torch_gives(saved, name):
    file, _, trainer = saved(name, PICTURES)
    x = np.random.default_rng(0).normal(size=(300, 1, 2, 3)).astype(np.float32)
    with_torch = trainer.outputs(trainer.initial(1), x)
    without = forward(name, load_file(file))
    assert without is not None
    np.testing.assert_allclose(without(x), with_torch, atol=1e-6)
    np.testing.assert_allclose(without(x[7:8]), with_torch[7:8], atol=1e-6)
    assert forward("cnn-small", load_file(file)) is None
    assert forward(name, {}) is None


@pytest.mark.parametrize("torch_is_there", [True, False])
def test_rows_are_told_by_their_number_and_classes_by_their_name(saved, tmp_path, request, torch_is_there):
    file, description, trainer = saved("logistic", TABLE)
    if not torch_is_there:
        request.getfixturevalue("without_torch")
    (tmp_path / "new.csv").write_text("b;note;a\n2;x;30\n\n4;y;50\n")
    found = predict(file, description, tmp_path / "new.csv")
    scores = trainer.outputs(trainer.initial(1), np.array([[3.0, 1.0], [5.0, 2.0]], np.float32))
    expected = torch.softmax(torch.from_numpy(scores), 1).numpy()
    np.testing.assert_allclose(found.values, expected, atol=1e-6)
    rows = list(csv.reader(io.StringIO(found.to_csv())))
    assert rows[0] == ["row", "prediction", "probability of no", "probability of yes"]
    assert [row[:2] for row in rows[1:]] == [
        [number, TABLE.classes[int(p.argmax())]] for number, p in zip(("2", "4"), expected, strict=True)
    ]
    (tmp_path / "new.csv").write_text("a,b\n30,10\n")
    with pytest.raises(DoesNotFit, match="row 2: column 'b' is '10'; it must be a number of at most 9"):
        predict(file, description, tmp_path / "new.csv")


def test_a_number_is_predicted_of_a_regression(saved, tmp_path):
    file, description, trainer = saved("logistic", NUMBERS)
    (tmp_path / "new.csv").write_text("a,b\n1,2\n")
    found = predict(file, description, tmp_path / "new.csv")
    expected = trainer.outputs(trainer.initial(1), np.array([[1, 2]], np.float32))[0, 0]
    assert found.to_csv() == f"row,prediction\n2,{expected:.9g}\n"


def test_arrays_are_told_by_index_and_pictures_by_file_in_folders_of_classes_or_not(saved, tmp_path):
    file, description, _ = saved("logistic", PICTURES)
    pixels = np.random.default_rng(0).integers(256, size=(3, 2, 3), dtype=np.uint8)
    np.savez(tmp_path / "new.npz", x=pixels[:, None] / 255)
    flat, deep = tmp_path / "flat", tmp_path / "deep"
    for folder in (flat, deep / "b", deep / "a"):
        folder.mkdir(parents=True)
    for place, each in enumerate(pixels):
        Image.fromarray(each).save(flat / f"{place}.png")
    for folder, each in zip("aab", pixels, strict=True):
        Image.fromarray(each).save(deep / folder / f"{each[0, 0]}.png")
    by_array, by_file, by_class = (
        predict(file, description, place) for place in (tmp_path / "new.npz", flat, deep)
    )
    assert by_array.inputs.places == ("0", "1", "2")
    assert by_file.inputs.places == ("0.png", "1.png", "2.png")
    assert [Path(place).parent.name for place in by_class.inputs.places] == ["a", "a", "b"]
    np.testing.assert_allclose(by_file.values, by_array.values, atol=1e-6)
    assert sorted(by_class.values[:, 0]) == pytest.approx(sorted(by_array.values[:, 0]), abs=1e-6)


def test_nothing_of_a_description_is_run_and_what_is_missing_is_named(saved, tmp_path, without_torch):
    file, description, _ = saved("cnn-small", OwnSchema(shape=(1, 28, 28), classes=("a", "b")))
    np.savez(tmp_path / "new.npz", x=np.zeros((2, 1, 28, 28)))
    with pytest.raises(CannotPredict, match=r'pip install "hedgerow\[torch\]"'):
        predict(file, description, tmp_path / "new.npz")
    for part, name in (("task", "model"), ("run", "trainer")):
        given = json.loads(description)
        if part == "task":
            given["task"]["model"]["name"] = "os:system"
        else:
            given["run"]["trainer"] = "os:system"
        with pytest.raises(CannotPredict, match=f"{name} 'os:system'.* is not installed"):
            predict(file, json.dumps(given), tmp_path / "new.npz")
    given = {**json.loads(description), "strategy": describe(fedper())}
    with pytest.raises(CannotPredict, match="its own layers"):
        predict(file, json.dumps(given), tmp_path / "new.npz")


class Mixed(torch.nn.Module):
    """A layer with statistics and one with an integer buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.ReLU())
        self.head = torch.nn.Linear(2 * 4 * 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).flatten(1))


def test_an_exported_program_gives_the_models_own_outputs(tmp_path):
    trainer = TorchTrainer(Task(Mixed))
    model = trainer.initial(3)
    model.buffers[:] = np.random.default_rng(0).uniform(0.5, 2, len(model.buffers))
    (tmp_path / "a.pt2").write_bytes(exported(Mixed, model, (1, 6, 6), {"about": "x"}))
    program = torch.export.load(tmp_path / "a.pt2").module()
    x = np.random.default_rng(1).normal(size=(11, 1, 6, 6)).astype(np.float32)
    with torch.no_grad():
        np.testing.assert_allclose(program(torch.from_numpy(x)).numpy(), trainer.outputs(model, x), atol=1e-6)
        assert program(torch.from_numpy(x[:1])).shape == (1, 3)
    with pytest.raises(ValueError, match="torch cannot export this model"):
        exported(Asks, TorchTrainer(Task(Asks)).initial(0), (2,), {})


class Asks(torch.nn.Linear):
    """Of which each sample goes another way: no program can be written down."""

    def __init__(self) -> None:
        super().__init__(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) if x.sum().item() > 1 else x
