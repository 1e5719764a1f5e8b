"""Low-rank layers: which layers they take the place of, what they start from, and the way back."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file
from torch import nn

import hedgerow as hr
from hedgerow.client.torch.factorised import LowRankLayer, spectral
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.models import build
from tests.tuned_models import LOCAL, Attends, samples


class Convolves(nn.Module):
    """Every kind of layer that is factorised, with strides, padding and dilation, and one in groups."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, stride=2, padding=1, padding_mode="circular")
        self.norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 9, (3, 2), dilation=(1, 2), padding="same", bias=False)
        self.grouped = nn.Conv2d(9, 9, 3, groups=3)
        self.series = nn.Conv1d(9, 8, 3, padding=1)
        self.hidden = nn.Linear(8, 9)
        self.head = nn.Linear(9, 3)

    def forward(self, x):
        x = torch.relu(self.norm(self.first(x)))
        x = torch.relu(self.grouped(torch.relu(self.second(x))))
        x = torch.relu(self.series(x.flatten(2))).mean(2)
        return self.head(torch.relu(self.hidden(x)))


def dense() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 12), nn.Tanh(), nn.Linear(12, 11, bias=False), nn.Linear(11, 3))


SHAPES = {dense: (5,), Convolves: (1, 9, 9), Attends: (4, 8)}
MODELS = [pytest.param(make, shape, id=make.__name__) for make, shape in SHAPES.items()]


def factorised(module: nn.Module) -> list[str]:
    return [name for name, m in module.named_modules() if isinstance(m, LowRankLayer)]


@given(
    rows=st.integers(1, 9), columns=st.integers(1, 9), rank=st.integers(1, 9), true=st.integers(0, 9),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_factors_are_the_nearest_matrix_of_their_rank_as_large_as_the_weight(rows, columns, rank, true, seed):
    generator, most = torch.Generator().manual_seed(seed), min(rows, columns)
    rank, true = min(rank, most), min(true, most)
    weight = torch.randn(rows, true, generator=generator) @ torch.randn(true, columns, generator=generator)
    up, down = spectral(weight, rank)
    assert (up.shape, down.shape) == ((rows, rank), (rank, columns))
    left, sizes, right = torch.linalg.svd(weight.double(), full_matrices=False)
    nearest = (left[:, :rank] * sizes[:rank]) @ right[:rank]
    product, norm = (up.double() @ down.double()), weight.double().norm()
    torch.testing.assert_close(product.norm(), norm, rtol=1e-5, atol=1e-6)
    if norm:
        # As near as the nearest one: which it is, where two singular values are equal, is not determined.
        unscaled = product * nearest.norm() / norm
        gap = (weight - unscaled).norm() - (weight - nearest).norm()
        assert abs(gap) <= 1e-5 * norm
    if true >= rank:  # both have the same share
        torch.testing.assert_close(up.T @ up, down @ down.T, rtol=1e-4, atol=1e-4)
    else:
        assert min((up.norm(dim=0) + down.norm(dim=1)).tolist()) > 0.1, "there is something to train"
    assert up.is_contiguous()
    assert down.is_contiguous()
    again = spectral(weight, rank)
    assert torch.equal(up, again[0])
    assert torch.equal(down, again[1])


@pytest.mark.parametrize(("make", "shape"), MODELS)
def test_a_layer_becomes_two_that_compute_with_the_product(make, shape):
    small = hr.low_rank(make, 2)
    torch.manual_seed(0)
    module = small()
    plain = make()
    plain.load_state_dict(small.merge(module.state_dict()), strict=True)
    assert factorised(module)
    for name in factorised(module):
        mine, its = module.get_submodule(name), plain.get_submodule(name)
        torch.testing.assert_close(mine.weight, its.weight)
        assert (mine.bias is None) == (its.bias is None)
    x = torch.from_numpy(samples(shape, 6).x)
    for mode in (True, False):
        with torch.no_grad():
            torch.testing.assert_close(module.train(mode)(x), plain.train(mode)(x), rtol=1e-4, atol=1e-5)


def test_a_new_model_starts_from_the_weights_that_the_plain_one_would_have():
    torch.manual_seed(7)
    plain = dense()
    torch.manual_seed(7)
    module = hr.low_rank(dense, 2)()
    assert torch.equal(module[3].weight, plain[3].weight)
    assert torch.equal(module[0].bias, plain[0].bias)
    torch.testing.assert_close(torch.stack(spectral(plain[0].weight, 2)[:1])[0], module[0].up.weight)
    same = [TorchTrainer(hr.Task(hr.low_rank(dense, 2))).initial(seed) for seed in (3, 3, 4)]
    assert same[0].parameters.tobytes() == same[1].parameters.tobytes() != same[2].parameters.tobytes()


def test_all_layers_are_factorised_that_become_smaller_but_the_last():
    assert factorised(hr.low_rank(Convolves, 2)()) == ["first", "second", "series", "hidden"]
    assert factorised(hr.low_rank(Convolves, 5)()) == ["second", "series"]
    assert factorised(hr.low_rank(Convolves, 2, layers=["head", "s*"])()) == ["second", "series", "head"]
    paper = hr.low_rank(build("cnn-fedavg", input_shape=(1, 28, 28), num_classes=10), 8, layers=["hidden"])
    assert hr.TorchTrainer(hr.Task(paper)).layout.dimension == 86_922


def frozen() -> nn.Module:
    module = dense()
    module[0].requires_grad_(False)
    return module


def tied() -> nn.Module:
    module = nn.Sequential(nn.Linear(9, 9), nn.Tanh(), nn.Linear(9, 9), nn.Linear(9, 9), nn.Linear(9, 3))
    module[2].weight = module[0].weight
    return module


def twice() -> nn.Module:
    layer = nn.Linear(9, 9)
    return nn.Sequential(layer, nn.Tanh(), layer, nn.Linear(9, 3))


def test_layers_that_cannot_be_factorised_stay_as_they_are_and_one_used_twice_stays_one():
    assert factorised(hr.low_rank(frozen, 2)()) == ["2"]
    assert factorised(hr.low_rank(tied, 2)()) == ["3"]
    module = hr.low_rank(twice, 2)()
    assert module[0] is module[2]
    plain = twice()
    plain.load_state_dict(hr.low_rank(twice, 2).merge(module.state_dict()), strict=True)
    x = torch.randn(4, 9)
    torch.testing.assert_close(plain(x), module(x))
    tuned = hr.lora(dense, rank=1, targets=["0"], train=["2"])
    both = hr.low_rank(tuned, 2)()
    assert factorised(both) == ["2"]
    assert not both[0].parametrizations.weight.original.requires_grad


WRONG = {
    r"rank is 0; it must be": (dense, 0, None),
    r"rank is 6; it must be at most 5, or no layer": (dense, 6, None),
    r"layers is 'head'; it must be a list": (dense, 1, "head"),
    r"layers has 'hed', which names no linear layer or conv.*has '0', '2', '3'": (dense, 1, ["hed"]),
    r"layers has '3', which does not become smaller at rank 3: at most 2 is possible": (dense, 3, ["3"]),
    r"layers has 'grouped', which is a convolution in groups": (Convolves, 1, ["grouped"]),
    r"layers has '0', which is frozen": (frozen, 1, ["0"]),
    r"layers has '2', which shares its weight": (tied, 1, ["2"]),
    r"layers has '0', which is computed in a way": (lambda: nn.Sequential(nn.LazyLinear(3)), 1, ["0"]),
    r"the model has no layer for low rank.*name the last": (lambda: nn.Linear(9, 9), 1, None),
    r"the model has no layer for low rank": (nn.Tanh, 1, None),
    r"gave 3; it must give a torch": (lambda: 3, 1, None),
}


@pytest.mark.parametrize("message", WRONG)
def test_what_cannot_be_is_refused_in_one_sentence(message):
    make, rank, layers = WRONG[message]
    with pytest.raises(ValueError, match=message) as refused:
        hr.low_rank(make, rank, layers=layers)()
    assert "\n" not in str(refused.value)


def test_a_module_is_copied_and_a_factory_can_be_sent_to_another_process():
    module = dense()
    small = hr.low_rank(module, 2)
    one, two = small(), pickle.loads(pickle.dumps(small))()
    assert not factorised(module)
    assert not {id(p) for p in one.parameters()} & {id(p) for p in module.parameters()}
    assert torch.equal(one[0].up.weight, two[0].up.weight)


@pytest.mark.parametrize("personal", [(), ("0.",)], ids=["shared", "personal"])
def test_a_run_saves_a_model_that_becomes_a_plain_one(tmp_path, personal):
    small = hr.low_rank(dense, 2)
    data = hr.from_function(3, lambda k: samples((5,), 9, k))
    strategy = hr.fedavg(sampling=hr.uniform(3), local=LOCAL, personal=personal)
    (result,) = hr.simulate(hr.Task(small), data, strategy, rounds=1, folder=tmp_path)
    assert not result.dropped
    sent = sum(p.numel() for n, p in small().named_parameters() if not n.startswith(personal or "none"))
    assert {4 * sent < size < 4 * sent + 1000 for size in result.bytes_up.values()} == {True}
    saved = load_file(tmp_path / "model.safetensors")
    module, plain = small(), dense()
    module.load_state_dict({n: torch.from_numpy(v) for n, v in saved.items()}, strict=True)
    plain.load_state_dict(small.merge(saved), strict=True)
    x = torch.from_numpy(samples((5,), 6).x)
    torch.testing.assert_close(plain(x), module(x))
    with pytest.raises(ValueError, match=r"misses '0.down.weight'; it must be of .* rank 2"):
        small.merge({n: v for n, v in saved.items() if n != "0.down.weight"})
    assert np.isfinite(result.state.model.parameters).all()
