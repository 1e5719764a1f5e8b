"""What is saved of a model is all of it: a module takes it with `load_state_dict(strict=True)`."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import hedgerow as hr
from hedgerow.client.cohort import CohortTrainer
from hedgerow.server.checkpoint import load_model, save_model
from hedgerow.types import LocalTraining, Samples

WIDTH = 4


class Odd(nn.Module):
    """A tensor with two names, one with three, counters, a mask of truth values, and what is not saved."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(WIDTH, WIDTH, bias=False), nn.Linear(WIDTH, WIDTH)
        self.outer.weight = self.inner.weight
        self.norm, self.head = nn.BatchNorm1d(WIDTH), nn.Linear(WIDTH, 2)
        self.register_buffer("places", torch.arange(WIDTH)[None])
        self.register_buffer("same_places", self.places)
        self.register_buffer("mask", torch.ones(WIDTH, WIDTH).tril().bool())
        self.register_buffer("phase", torch.zeros(2, dtype=torch.complex64))
        self.register_buffer("empty", torch.zeros(0, 3, dtype=torch.int32))
        self.register_buffer("scale", torch.full((2,), 0.5))
        self.register_buffer("same_scale", self.scale)
        self.register_buffer("passing", torch.arange(3), persistent=False)
        self.again = self.norm

    def forward(self, x):
        x = self.norm(self.outer(self.inner(x)))
        return self.head(x.masked_fill(~self.mask[0], 0) * self.scale[0])


def samples(number: int) -> Samples:
    rng = np.random.default_rng(number)
    return Samples(rng.normal(size=(9, WIDTH)).astype(np.float32), rng.integers(2, size=9))


DATA = hr.from_function(4, samples)


@pytest.mark.parametrize("personal", [(), "norms", "head."], ids=str)
def test_a_module_takes_the_saved_model_whatever_it_is_made_of(tmp_path, personal):
    task = hr.Task(Odd)
    strategy = hr.fedavg(sampling=hr.uniform(3), local=LocalTraining(batch_size=4), personal=personal)
    *_, last = hr.simulate(task, DATA, strategy, rounds=2, seed=1, folder=tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    module = Odd()
    module.load_state_dict(saved, strict=True)
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, saved[name]), name
    trainer = hr.TorchTrainer(task)
    split = strategy.split(trainer.layout)
    model = load_model(tmp_path, trainer.layout)
    assert split.shared_part(model).parameters.tobytes() == last.state.model.parameters.tobytes()
    fresh = Odd()
    for name in ("places", "same_places", "mask", "phase", "norm.num_batches_tracked"):
        assert torch.equal(saved[name], fresh.state_dict()[name]), name
    assert not torch.equal(saved["inner.weight"], fresh.inner.weight)
    assert saved["inner.weight"].numpy().tobytes() == saved["outer.weight"].numpy().tobytes()


def test_what_is_saved_beside_decides_nothing_that_travels():
    layout, batched = hr.TorchTrainer(hr.Task(Odd)).layout, CohortTrainer(hr.Task(Odd)).layout
    assert layout == batched
    assert sorted(each.name for each in layout.unsent) == [
        "empty", "mask", "norm.num_batches_tracked", "phase", "places",
    ]  # fmt: skip
    shared = hr.fedavg().split(layout).shared
    assert (shared.unsent, shared.ties) == ((), ())
    assert shared.fingerprint == layout.fingerprint


def test_a_file_with_any_of_a_tensors_names_is_read_and_one_whose_names_disagree_is_not(tmp_path):
    trainer = hr.TorchTrainer(hr.Task(Odd))
    layout, model = trainer.layout, trainer.initial(0)
    path = tmp_path / "model.safetensors"
    save_model(path, model, layout)
    whole = load_file(path)
    for left_out in ({"outer.weight"}, {"inner.weight"}, {each.name for each in layout.unsent}):
        some = {name: tensor.clone() for name, tensor in whole.items() if name not in left_out}
        save_file(some, path)
        found = load_model(path, layout)
        for part in ("parameters", "buffers", "constants"):
            assert getattr(found, part).tobytes() == getattr(model, part).tobytes()
    other = {name: tensor.clone() for name, tensor in whole.items()}
    other["outer.weight"] += 1
    save_file(other, path)
    with pytest.raises(ValueError, match=r"'outer\.weight' is not 'inner\.weight', to which the model ties"):
        load_model(path, layout)
