"""Simulated runs with the trainer of devices without torch, beside the same runs with torch's."""

import sys
from importlib.util import find_spec

import numpy as np
import pytest

import hedgerow as hr
from hedgerow import extras
from hedgerow.client.trainers import Computing, make_trainer
from hedgerow.export.trainer import ExportingTrainer
from hedgerow.models import build
from hedgerow.types import Model

LOCAL = {"learning_rate": 0.2, "batch_size": 8, "epochs": 2}


def run(strategy, **options):
    """The last round of a small run."""
    data = hr.load_dataset("heart-disease").split(hr.iid(4), 3)
    facts = {"input_shape": data.dataset.input_shape, "num_classes": data.dataset.num_classes}
    task = hr.Task(build("mlp-2nn", **facts, hidden=8))
    *_, last = hr.simulate(task, data, strategy, rounds=3, test=data.dataset.test, seed=5, **options)
    assert not last.failed
    assert not last.dropped
    return last


STRATEGIES = {
    "fedavgm": hr.fedavgm(local=hr.LocalTraining(**LOCAL, momentum=0.5), sampling=hr.uniform(3)),
    "fedprox": hr.fedprox(0.1, local=hr.LocalTraining(**LOCAL), sampling=hr.uniform(3)),
    "scaffold": hr.scaffold(local=hr.LocalTraining(**LOCAL), sampling=hr.uniform(3)),
}


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_run_without_lossy_steps_ends_with_the_model_of_torchs(name):
    found, expected = (run(STRATEGIES[name], trainer=trainer) for trainer in ("onnx", "loop"))
    ours, theirs = (last.state.model.parameters for last in (found, expected))
    assert np.abs(ours - theirs).max() < 1e-5
    assert found.evaluation["accuracy"] == expected.evaluation["accuracy"]
    assert found.evaluation["loss"] == pytest.approx(expected.evaluation["loss"], abs=1e-5)


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux")
def test_the_number_of_workers_never_shows():
    one, two = (run(STRATEGIES["fedavgm"], trainer="onnx", workers=n).state.model for n in (1, 2))
    assert one.parameters.tobytes() == two.parameters.tobytes()


def linear() -> hr.Task:
    return hr.Task(build("logistic", input_shape=(2,), num_classes=2))


@pytest.mark.parametrize("module", ["onnx", "onnxruntime"])
def test_without_an_extra_it_is_named(monkeypatch, module):
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == module else find_spec(name))
    with pytest.raises(ModuleNotFoundError) as caught:
        make_trainer("onnx", linear(), Computing())
    extra = {"onnx": "export", "onnxruntime": "onnx"}[module]
    assert extras.remedy(caught.value) == (
        f'{module} is not installed; install it with: pip install "hedgerow[{extra}]"'
    )


@pytest.mark.parametrize(
    ("computing", "text"),
    [
        (Computing(device="cuda"), "device is 'cuda'; the trainer 'onnx' computes on the 'cpu'"),
        (
            Computing(precision="bfloat16"),
            "precision is 'bfloat16'; the trainer 'onnx' computes in 'float32'",
        ),
    ],
    ids=str,
)
def test_another_device_or_precision_is_refused(computing, text):
    with pytest.raises(ValueError, match=text):
        make_trainer("onnx", linear(), computing)


def test_a_task_is_exported_once_for_each_way_of_training_and_form_of_samples(monkeypatch):
    from hedgerow.export import trainer as module

    made = []
    for name in ("export_training", "export_evaluation"):
        export = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a, e=export, n=name, **k: (made.append(n), e(*a, **k))[1])
    trainer = ExportingTrainer(linear())
    data = hr.Samples(np.eye(2, dtype=np.float32), np.arange(2))
    for round in (1, 2):
        for rate in (0.1, 0.2):
            local = hr.LocalTraining(learning_rate=rate, epochs=round)
            trainer.fit(trainer.initial(0), data, local, seed=0, round=round, client="a")
        trainer.evaluate(trainer.initial(0), data)
        trainer.outputs(trainer.initial(0), data.x)
    assert made == ["export_training", "export_evaluation"]
    trainer.fit(trainer.initial(0), data, hr.LocalTraining(batch_size=3), seed=0, round=1, client="a")
    assert made.count("export_training") == 2


def test_what_cannot_be_exported_is_said_for_every_client_and_tried_once(monkeypatch):
    trainer = ExportingTrainer(linear())
    data, local = hr.Samples(np.eye(2, dtype=np.float32), np.arange(2)), hr.LocalTraining(batch_size=0)
    for client in ("a", "b"):
        with pytest.raises(ValueError, match="batch_size is 0, and a graph has batches of one size"):
            trainer.fit(Model(np.zeros(6)), data, local, seed=0, round=1, client=client)
        monkeypatch.setattr("hedgerow.export.trainer.export_training", None)  # is not called again
