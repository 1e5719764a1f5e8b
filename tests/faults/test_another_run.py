"""Going on after a change: refused by name, extended, or begun anew from a model."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import hedgerow as hr
from hedgerow.sealed import check, seal
from hedgerow.server.checkpoint import CheckpointError
from hedgerow.server.fingerprint import FILE, AnotherRun

SLOPE = 0.1


def samples(number: int, shift: float = 0.0) -> hr.Samples:
    random = np.random.default_rng(number)
    x = random.normal(shift, size=(12, 6)).astype(np.float32)
    return hr.Samples(x, random.integers(3, size=12))


def network(activation=torch.nn.ReLU) -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(6, 8), activation(), torch.nn.Linear(8, 3))


class Own(torch.nn.Module):
    def __init__(self, slope: float = 0.1) -> None:
        super().__init__()
        self.inner, self.slope = network(), slope

    def forward(self, x):
        return torch.nn.functional.leaky_relu(self.inner(x), self.slope)


class Other(Own):
    def forward(self, x):
        return torch.tanh(self.inner(x))


def smooth(outputs, targets):
    return torch.nn.functional.cross_entropy(outputs, targets, label_smoothing=SLOPE)


def loss_of(weight: float):
    return lambda outputs, targets: weight * torch.nn.functional.cross_entropy(outputs, targets)


class Wrapped(hr.TorchTrainer):
    """A trainer of the user's own, which does not say what it learns."""

    def __init__(self, model) -> None:
        super().__init__(hr.Task(model))
        self.supports_more = True

    task = None


START = hr.TorchTrainer(hr.Task(network)).initial(7)
LOCAL = hr.LocalTraining()
BASE = {"task": hr.Task(network), "clients": hr.from_function(3, samples), "strategy": hr.fedavg()}


def run(folder: Path, rounds: int = 2, seed: int = 0, **changed):
    parts = BASE | changed
    options = {k: v for k, v in parts.items() if k not in BASE}
    return list(
        hr.simulate(
            parts["task"], parts["clients"], parts["strategy"], rounds=rounds, seed=seed, folder=folder,
            **options,
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def begun(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("begun") / "run"
    run(folder)
    return folder


CHANGES = [
    ({"strategy": hr.fedadam()}, "the strategy was fedavg, is now fedadam"),
    (
        {"strategy": hr.fedavg(local=replace(LOCAL, learning_rate=0.2))},
        "the learning rate was 0.1, is now 0.2",
    ),
    ({"trainer": "batch"}, "the trainer was loop, is now batch"),
    ({"precision": "bfloat16"}, "the precision was float32, is now bfloat16"),
    ({"strategy": hr.fedavg(sampling=hr.uniform(2))}, r"the sampling was uniform\(10\), is now uniform\(2\)"),
    ({"strategy": hr.fedavg(pipeline=hr.quantize(8))}, "the pipeline was .*, is now .*quantize"),
    ({"strategy": hr.fedavg(max_norm=3.0)}, "the max norm was none, is now 3.0"),
    ({"strategy": hr.fedavgm(server_momentum=0.5)}, r"the server update was sgd\(1.0\), is now momentum"),
    ({"task": hr.Task(lambda: network(torch.nn.Tanh))}, "the model changed"),
    ({"task": hr.Task(network, loss=smooth)}, "the loss changed"),
    ({"clients": hr.from_function(4, samples)}, "the clients changed"),
    ({"clients": hr.from_function(3, lambda number: samples(number, 1.0))}, "the clients changed"),
    ({"clients": hr.from_arrays(np.ones((30, 6)), [0, 1, 2] * 10).split(hr.iid(3))}, "the clients changed"),
    ({"task": Wrapped(network)}, "the trainer changed"),
    ({"initial": START}, "the initial model changed"),
]


@pytest.mark.parametrize(("changed", "told"), CHANGES)
def test_a_run_does_not_go_on_with_something_else_and_says_with_what(begun, tmp_path, changed, told) -> None:
    folder = tmp_path / "run"
    shutil.copytree(begun, folder)
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    with pytest.raises(AnotherRun, match=told):
        run(folder, 3, **changed)
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (hr.Task(Own), hr.Task(lambda: Own(0.1)), True),
        (hr.Task(Own), hr.Task(lambda: Own(0.3)), False),
        (hr.Task(Own), hr.Task(Other), False),
        (hr.Task(network, loss=loss_of(1.0)), hr.Task(network, loss=loss_of(1.0)), True),
        (hr.Task(network, loss=loss_of(1.0)), hr.Task(network, loss=loss_of(2.0)), False),
        (hr.TorchTrainer(hr.Task(network)), hr.Task(network), True),
    ],
)
def test_models_and_losses_are_told_apart_by_settings_code_and_what_they_use(
    tmp_path, first, second, same
) -> None:
    run(tmp_path, task=first)
    if same:
        assert run(tmp_path, 3, task=second)[-1].round == 3
    else:
        with pytest.raises(AnotherRun, match="changed"):
            run(tmp_path, 3, task=second)


def test_a_global_that_a_loss_uses_is_looked_at(tmp_path, monkeypatch) -> None:
    run(tmp_path, task=hr.Task(network, loss=smooth))
    monkeypatch.setitem(smooth.__globals__, "SLOPE", 0.2)
    with pytest.raises(AnotherRun, match="the loss changed"):
        run(tmp_path, 3, task=hr.Task(network, loss=smooth))


def test_changed_values_of_a_data_set_its_split_and_its_test_samples_are_told_apart(tmp_path) -> None:
    data = hr.load_dataset("heart-disease")
    other = replace(data, train=hr.Samples(data.train.x + np.float32(1e-3), data.train.y))
    task = hr.Task(lambda: torch.nn.Linear(data.input_shape[0], data.num_classes))
    federation = data.split(hr.iid(4))
    run(tmp_path, task=task, clients=federation, test=data.test)
    for changed, told in [
        ({"clients": other.split(hr.iid(4))}, "the training data changed"),
        ({"clients": data.split(hr.iid(4), seed=1)}, "the split of the data changed"),
        ({"test": hr.Samples(data.test.x[:-1], data.test.y[:-1])}, "the test data changed"),
    ]:
        with pytest.raises(AnotherRun, match=told):
            run(tmp_path, 3, task=task, **({"clients": federation, "test": data.test} | changed))
    assert run(tmp_path, 3, task=task, clients=federation, test=data.test)[-1].round == 3


def test_a_run_that_is_extended_ends_as_one_that_was_longer_from_the_start(begun, tmp_path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(begun, folder)
    longer, whole = run(folder, 5), run(tmp_path / "whole", 5)
    assert [r.round for r in longer] == [3, 4, 5]
    assert (folder / "model.safetensors").read_bytes() == (tmp_path / "whole/model.safetensors").read_bytes()
    assert longer[-1].state.model.parameters.tobytes() == whole[-1].state.model.parameters.tobytes()


def test_a_folder_without_a_fingerprint_goes_on_and_says_that_nothing_was_checked(
    begun, tmp_path, caplog
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(begun, folder)
    (folder / FILE).unlink()
    assert len(run(folder, 3)) == 1
    assert "kept no fingerprint" in caplog.text
    (folder / FILE).unlink()
    with pytest.raises(
        ValueError, match=r"holds nothing of the server update, but fedadam keeps first.*continue with"
    ):
        run(folder, 4, strategy=hr.fedadam())
    (folder / FILE).write_text("{")
    with pytest.raises(AnotherRun, match="cannot be read"):
        run(folder, 4)


def test_another_seed_is_another_run(begun, tmp_path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(begun, folder)
    with pytest.raises(CheckpointError, match="seed 0, this run has 1"):
        run(folder, 3, seed=1)


def test_a_run_starts_from_a_model_a_file_or_the_folder_of_a_run(begun, tmp_path) -> None:
    layout = hr.TorchTrainer(hr.Task(network)).layout
    model = hr.load_model(begun, layout)
    found = [run(None, initial=start) for start in (model, begun, begun / "model.safetensors")]
    first, *others = [[r.state.model.parameters.tobytes() for r in results] for results in found]
    assert others == [first, first]
    assert first != [r.state.model.parameters.tobytes() for r in run(None)]
    hr.save_model(tmp_path / "again.safetensors", model, layout)
    assert hr.load_model(tmp_path / "again.safetensors", layout).parameters.tobytes() == (
        model.parameters.tobytes()
    )


def test_a_run_that_was_begun_from_a_file_needs_it_no_more_and_takes_no_other(begun, tmp_path) -> None:
    start, other, folder = tmp_path / "start", tmp_path / "other", tmp_path / "run"
    shutil.copytree(begun, start)
    shutil.copytree(begun, other)
    run(folder, initial=start)
    with pytest.raises(AnotherRun, match="the initial model changed"):
        run(folder, 3, initial=other)
    with pytest.raises(AnotherRun, match="the initial model changed"):
        run(folder, 3)
    whole = run(None, 3, initial=start)[-1].state.model
    shutil.rmtree(start)
    assert run(folder, 3, initial=start)[-1].state.model.parameters.tobytes() == whole.parameters.tobytes()


def test_fewer_rounds_than_are_done_are_refused_and_change_nothing(begun, tmp_path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(begun, folder)
    before = (folder / "model.safetensors").read_bytes()
    with pytest.raises(ValueError, match="has done 2 rounds; rounds must be 2 or more to continue"):
        run(folder, 1)
    assert run(folder, 2) == []
    assert (folder / "model.safetensors").read_bytes() == before


def test_a_checkpoint_of_other_tensors_is_said_without_a_digest(begun, tmp_path) -> None:
    shutil.copytree(begun, tmp_path / "run")
    with pytest.raises(CheckpointError, match="has a model with other tensors than this run's; it belongs"):
        run(tmp_path / "run", 3, task=hr.Task(lambda: torch.nn.Linear(6, 3)))


def test_a_model_that_does_not_fit_is_refused_by_the_names_of_its_tensors(begun) -> None:
    wide = hr.Task(lambda: torch.nn.Sequential(torch.nn.Linear(6, 9), torch.nn.ReLU(), torch.nn.Linear(9, 3)))
    with pytest.raises(ValueError, match=r"'0.weight' is float32 \[8, 6\], and must be float32 \[9, 6\]"):
        run(None, task=wide, initial=begun)
    with pytest.raises(ValueError, match=r"'weight' is missing; 'bias' is missing; '0"):
        run(None, task=hr.Task(lambda: torch.nn.Linear(6, 3)), initial=begun)
    with pytest.raises(ValueError, match=r"gone.safetensors does not exist; give a safetensors file"):
        run(None, initial=begun / "gone.safetensors")


def test_a_loop_that_is_left_leaves_its_last_round_saved_and_a_model(tmp_path) -> None:
    for result in hr.simulate(*BASE.values(), rounds=9, folder=tmp_path / "run"):
        if result.round == 3:
            break
    module = network()
    module.load_state_dict(load_file(tmp_path / "run/model.safetensors"))
    assert torch.nn.utils.parameters_to_vector(module.parameters()).detach().numpy().tobytes() == (
        result.state.model.parameters.tobytes()
    )
    assert [r.round for r in run(tmp_path / "run", 5)] == [4, 5]
    run(tmp_path / "whole", 5)
    assert (tmp_path / "run/model.safetensors").read_bytes() == (
        tmp_path / "whole/model.safetensors"
    ).read_bytes()


def test_a_device_is_the_one_it_was_by_whatever_name_and_workers_may_change(begun, tmp_path):
    shutil.copytree(begun, tmp_path / "run")
    assert len(run(tmp_path / "run", rounds=3, device="cpu", workers=2)) == 1
    file = tmp_path / "run" / FILE
    kept = check(json.loads(file.read_text()))
    kept["run"]["device"] = "cuda"
    file.write_text(json.dumps(seal(kept)))
    with pytest.raises(AnotherRun, match="the device was cuda, is now cpu"):
        run(tmp_path / "run", rounds=4)


def test_a_run_of_a_hedgerow_that_kept_no_trainer_goes_on(begun, tmp_path):
    shutil.copytree(begun, tmp_path / "run")
    file = tmp_path / "run" / FILE
    kept = check(json.loads(file.read_text()))
    assert kept.pop("run") == {"trainer": "loop", "device": "cpu", "precision": "float32"}
    file.write_text(json.dumps(kept))
    assert len(run(tmp_path / "run", rounds=3)) == 1


def test_a_trainer_that_is_made_already_keeps_its_precision_too(tmp_path):
    run(tmp_path, task=hr.TorchTrainer(hr.Task(network)))
    with pytest.raises(AnotherRun, match="the precision was float32, is now bfloat16"):
        run(tmp_path, rounds=3, task=hr.TorchTrainer(hr.Task(network), precision="bfloat16"))
