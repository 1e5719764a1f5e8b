"""Local training is the same every time, forgets each client, and leaves its caller alone."""

import copy
import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from hedgerow.client.task import Task
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.rng import generator
from hedgerow.types import LocalTraining, Samples
from tests.laws.torch_fits import Leaky, cnn_trainer, dropout_net, fit, images

ROOT = Path(__file__).parents[2]


def digest() -> str:
    trainer = TorchTrainer(Task(dropout_net))
    result = fit(trainer, images(23), LocalTraining(epochs=2, momentum=0.9))
    return hashlib.sha256(result.delta.tobytes() + trainer.initial(9).parameters.tobytes()).hexdigest()


PROGRAM = """
import torch
torch.manual_seed(3)
torch.set_num_threads(2)
from tests.laws.test_torch_traces import digest
print(digest())
"""


def test_another_process_gives_the_same_bits():
    command = [sys.executable, "-c", PROGRAM]
    other = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == digest()


def test_seed_round_and_client_each_change_the_order_of_the_samples():
    trainer, data = cnn_trainer(), images(30)
    base = fit(trainer, data)
    assert np.array_equal(fit(trainer, data).delta, base.delta)
    for change in ({"seed": 2}, {"round": 2}, {"client": "b"}):
        assert not np.array_equal(fit(trainer, data, **change).delta, base.delta)


def test_dropout_depends_on_the_client_and_not_on_torchs_global_generator():
    trainer, data = TorchTrainer(Task(dropout_net)), images(1)  # one sample: no order to depend on
    whole = LocalTraining(batch_size=0)
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    one = fit(trainer, data, whole).delta
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    assert np.array_equal(fit(trainer, data, whole).delta, one)
    assert np.abs(fit(trainer, data, whole, client="b").delta - one).max() > 1e-3


LOCALS = [
    LocalTraining(momentum=0.9),
    LocalTraining(optimizer="adam", learning_rate=0.01),
    LocalTraining(clip_gradient=0.1, proximal=0.1),
]


@pytest.mark.parametrize("local", LOCALS, ids=["momentum", "adam", "clip and proximal"])
@pytest.mark.parametrize("factory", [Leaky, dropout_net])
def test_nothing_of_one_client_reaches_the_next(factory, local):
    trainer = TorchTrainer(Task(factory))
    model, a, b = trainer.initial(0), images(23, 1), images(31, 2)
    kept = copy.deepcopy(model)
    first = fit(trainer, a, local, model)
    value = trainer.evaluate(model, b)
    fit(trainer, b, local, model, client="b")
    again = fit(trainer, a, local, model)
    assert np.array_equal(first.delta, again.delta)
    assert np.array_equal(first.buffers, again.buffers)
    assert first.metrics == again.metrics
    assert trainer.evaluate(model, b) == value
    fresh = fit(TorchTrainer(Task(factory)), a, local, model)
    assert np.array_equal(first.delta, fresh.delta)
    assert np.array_equal(kept.parameters, model.parameters)
    assert np.array_equal(kept.buffers, model.buffers)


def test_a_module_made_in_evaluation_mode_trains_in_training_mode():
    usual, still = TorchTrainer(Task(dropout_net)), TorchTrainer(Task(lambda: dropout_net().eval()))
    assert np.array_equal(fit(usual, images(9)).delta, fit(still, images(9)).delta)


def test_a_failed_fit_leaves_nothing_behind():
    trainer = TorchTrainer(Task(Leaky))
    model, good = trainer.initial(0), images(23, 1)
    expected = fit(trainer, good, model=model)
    with pytest.raises(ValueError, match="diverged"):
        fit(trainer, images(9), LocalTraining(learning_rate=1e30, momentum=0.9, epochs=5), model)
    assert np.array_equal(fit(trainer, good, model=model).delta, expected.delta)


def test_results_are_not_views_of_the_trainer():
    trainer = cnn_trainer()
    model = trainer.initial(0)
    first = fit(trainer, images(12), model=model)
    kept = first.delta.copy()
    fit(trainer, images(12, 4), model=model, client="b")
    assert np.array_equal(first.delta, kept)
    assert np.array_equal(model.parameters, trainer.initial(0).parameters)


def test_the_initial_model_depends_on_the_seed_alone():
    trainer = cnn_trainer()
    torch.manual_seed(1)
    one = trainer.initial(4).parameters
    torch.manual_seed(2)
    assert np.array_equal(trainer.initial(4).parameters, one)
    assert np.array_equal(cnn_trainer().initial(4).parameters, one)
    assert not np.array_equal(trainer.initial(5).parameters, one)


def test_threads_and_generator_of_the_caller_are_left_alone():
    before = torch.get_num_threads()
    other = 2 if before == 1 else 1
    state = torch.random.get_rng_state()
    trainer = cnn_trainer(threads=other)
    fit(trainer, images(5))
    with torch.no_grad():
        fit(trainer, images(5))
    assert torch.get_num_threads() == before
    assert torch.equal(torch.random.get_rng_state(), state)


def test_read_only_arrays_are_accepted():
    trainer, data = cnn_trainer(), images(5)
    model = trainer.initial(0)
    for array in (data.x, data.y, model.parameters):
        array.flags.writeable = False
    fit(trainer, data, model=model)
    trainer.evaluate(model, data)


class _Viewing(nn.Module):
    """Flattens with `view`, as most examples do: torch refuses that in the channels-last format."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.linear = nn.Linear(4 * 5 * 5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = torch.max_pool2d(torch.relu(self.norm(self.convolution(x))), 2)
        return self.linear(torch.nn.functional.dropout(hidden.view(-1, 4 * 5 * 5), 0.3, self.training))


def test_a_model_that_flattens_with_view_trains_and_evaluates() -> None:
    random = generator(0, "samples")
    data = Samples(random.normal(size=(12, 1, 12, 12)).astype(np.float32), random.integers(0, 3, 12))
    fresh, used = TorchTrainer(Task(_Viewing)), TorchTrainer(Task(_Viewing))
    model, local = fresh.initial(0), LocalTraining(batch_size=4)
    assert np.isfinite(used.evaluate(model, data)["loss"])
    used.fit(model, data, local, seed=0, round=1, client="other")
    one, other = (t.fit(model, data, local, seed=0, round=1, client="a") for t in (fresh, used))
    assert one.delta.tobytes() == other.delta.tobytes(), "finding the format out must leave no trace"
    assert one.buffers.tobytes() == other.buffers.tobytes()


def test_samples_reach_the_model_aligned_whatever_their_number() -> None:
    """MKL gives other bits for other alignments, so that a process's heap must not decide them."""
    pointers = []

    class Looking(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            pointers.append(x.data_ptr() % 64)
            return super().forward(x)

    trainer = TorchTrainer(Task(lambda: Looking(37, 2)))
    random = generator(0, "samples")
    for n in range(1, 20):
        data = Samples(random.normal(size=(n, 37)).astype(np.float32), random.integers(0, 2, n))
        trainer.fit(trainer.initial(0), data, LocalTraining(batch_size=3), seed=0, round=1, client="a")
    assert len(pointers) > 50
    assert set(pointers) == {0}
