"""Low-rank adapters: what they can reach, which layers have them, and that they can be taken out."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file
from torch import nn

import hedgerow as hr
from hedgerow.client.torch.lora import LowRank, lora
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.types import Model
from tests.tuned_models import LOCAL, MODELS, Attends, Convolves, dense, samples


def adapters(module: nn.Module) -> list[LowRank]:
    return [m for m in module.modules() if isinstance(m, LowRank)]


def fill(module: nn.Module, seed: int = 0) -> None:
    """Changes that are not zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for change in adapters(module):
            change.b.normal_(generator=generator)


@pytest.mark.parametrize(("make", "shape"), MODELS)
def test_training_starts_from_the_model_as_it_was(make, shape):
    plain, tuned = TorchTrainer(hr.Task(make)), TorchTrainer(hr.Task(lora(make, rank=2)))
    data = samples(shape, 20)
    before, start = plain.initial(3), tuned.initial(3)
    assert plain.evaluate(before, data) == tuned.evaluate(start, data)
    assert np.array_equal(np.sort(start.constants), np.sort(before.parameters))
    after = tuned.fit(start, data, LOCAL, seed=1, round=1, client="a")
    moved = Model(start.parameters + after.delta, after.buffers, start.constants)
    assert tuned.evaluate(moved, data)["loss"] < plain.evaluate(before, data)["loss"]


@given(rows=st.integers(1, 7), columns=st.integers(1, 7), rank=st.integers(1, 9), seed=st.integers(0, 99))
def test_a_change_has_the_rank_it_is_given_and_full_rank_reaches_every_weight(rows, columns, rank, seed):
    weight = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    change, full = LowRank(weight, rank), min(rows, columns)
    with torch.no_grad():
        change.b.normal_(generator=torch.Generator().manual_seed(seed + 1))
        moved = change(weight) - weight
        assert np.linalg.matrix_rank(moved.numpy(), tol=1e-4) <= min(rank, full)
        if rank < full:
            return
        goal = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed + 2))
        if rows <= columns:
            change.b.copy_(torch.eye(rows))
            change.a.copy_(goal - weight)
        else:
            change.a.copy_(torch.eye(columns))
            change.b.copy_(goal - weight)
        torch.testing.assert_close(change(weight), goal)


@pytest.mark.parametrize(("make", "shape"), MODELS)
def test_full_rank_reaches_every_model_that_full_fine_tuning_reaches(make, shape):
    torch.manual_seed(0)
    start, goal = make(), make()
    # What an adapter does not reach is said so: offsets and norms, here those of the goal.
    weights = {n for n, p in start.named_parameters() if p.dim() > 1}
    start.load_state_dict({n: t for n, t in goal.state_dict().items() if n not in weights}, strict=False)
    tuned = lora(start, rank=99)()
    for layer in tuned.modules():
        for name, changes in getattr(layer, "parametrizations", {}).items():
            full = next(n for n, m in tuned.named_modules() if m is layer)
            wanted = goal.get_parameter(f"{full}.{name}".lstrip(".")).detach()
            change = changes[0]
            with torch.no_grad():
                gap = (wanted - changes.original).reshape(len(change.a), -1, change.a.shape[2])
                rows, columns = gap.shape[1:]
                change.a.copy_(gap if rows <= columns else torch.eye(columns))
                change.b.copy_(torch.eye(rows) if rows <= columns else gap)
    x = torch.from_numpy(samples(shape, 6).x)
    with torch.no_grad():
        torch.testing.assert_close(tuned.eval()(x), goal.eval()(x))


def test_queries_keys_and_values_have_changes_of_their_own():
    for kdim in (None, 5):
        tuned = lora(lambda kdim=kdim: Attends(kdim), rank=1, targets=["attention"])()
        fill(tuned)
        own = tuned.attention
        base = own.parametrizations
        if kdim is None:
            moved = (own.in_proj_weight - base.in_proj_weight.original).chunk(3)
        else:
            moved = tuple(getattr(own, n) - base[n].original for n in base)
        assert len(moved) == 3
        assert [np.linalg.matrix_rank(m.detach().numpy(), tol=1e-5) for m in moved] == [1, 1, 1]


@pytest.mark.parametrize(("make", "shape"), MODELS)
def test_a_run_saves_a_model_that_becomes_a_plain_one(make, shape, tmp_path):
    tuned = lora(make, rank=2, alpha=4, train=["head"] if make is not dense else ["2"])
    data = hr.from_function(3, lambda k: samples(shape, 9, k))
    strategy = hr.fedavg(sampling=hr.uniform(3), local=LOCAL)
    (result,) = hr.simulate(hr.Task(tuned), data, strategy, rounds=1, folder=tmp_path)
    assert not result.dropped
    saved = load_file(tmp_path / "model.safetensors")
    whole = tuned()
    integers = {n: t for n, t in whole.state_dict().items() if not t.is_floating_point()}
    whole.load_state_dict({**{n: torch.from_numpy(v) for n, v in saved.items()}, **integers}, strict=True)
    plain = make()
    assert plain.load_state_dict(tuned.merge(saved), strict=True).missing_keys == []
    x = torch.from_numpy(samples(shape, 7).x)
    for mode in (True, False):
        with torch.no_grad():
            expected, got = whole.train(mode)(x), plain.train(mode)(x)
        torch.testing.assert_close(got, expected)
    assert not torch.equal(whole.eval()(x), make().eval()(x))


def test_what_an_adapter_does_not_touch_merges_to_the_same_bits():
    torch.manual_seed(0)
    module = Convolves()
    merged = lora(module, rank=2).merge(lora(module, rank=2)().state_dict())
    assert merged.keys() == module.state_dict().keys()
    assert all(torch.equal(merged[n], t) for n, t in module.state_dict().items())
    module.load_state_dict(merged, strict=True)


def test_a_module_is_copied_and_a_factory_can_be_sent_to_another_process():
    module = dense()
    tuned = lora(module, rank=2)
    one, two = tuned(), pickle.loads(pickle.dumps(tuned))()
    assert not {id(p) for p in one.parameters()} & {id(p) for p in two.parameters()}
    assert all(p.requires_grad for p in module.parameters())
    assert torch.equal(one[0].parametrizations.weight.original, two[0].parametrizations.weight.original)


def trained(module: nn.Module) -> set[str]:
    return {n for n, p in module.named_parameters() if p.requires_grad}


def test_names_and_patterns_say_which_layers_are_adapted_and_what_is_trained_whole():
    def changes(*layers: str) -> set[str]:
        return {f"{layer}.0.{which}" for layer in layers for which in "ab"}

    front = "encoder.layers.0.self_attn"
    attention = changes(
        f"{front}.parametrizations.in_proj_weight", f"{front}.out_proj.parametrizations.weight"
    )
    assert trained(lora(Attends, rank=1, targets=["encoder.*.self_attn"])()) == attention
    linear = changes("encoder.layers.0.linear1.parametrizations.weight")
    assert trained(lora(Attends, rank=1, targets=["*linear1"], train=["head"])()) == {
        *linear, "head.weight", "head.bias",
    }  # fmt: skip
    assert trained(lora(dense, rank=1, train=["2.weight", "*.bias"])()) == {
        *changes("0.parametrizations.weight"), "0.bias", "2.weight", "2.bias",
    }  # fmt: skip
    assert trained(lora(dense, rank=1, targets=[], train=["2"])()) == {"2.weight", "2.bias"}


class Tied(nn.Module):
    def __init__(self, share: str = "weight") -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.head = nn.Linear(4, 3)
        if share == "weight":
            self.second.weight = self.first.weight
        else:
            self.second = self.first

    def forward(self, x):
        return self.head(torch.tanh(self.second(torch.tanh(self.first(x)))))


def test_tied_weights_are_refused_and_a_layer_used_twice_is_not():
    with pytest.raises(
        ValueError, match=r"'first.weight' belongs to two layers .*leave its layer out of targets"
    ):
        lora(Tied, rank=1)()
    assert trained(lora(Tied, rank=1, targets=["head"])())
    tuned = lora(lambda: Tied("layer"), rank=1)
    module, plain = tuned(), Tied("layer")
    fill(module)
    plain.load_state_dict(tuned.merge(module.state_dict()), strict=True)
    x = torch.randn(5, 4)
    torch.testing.assert_close(plain(x), module(x))


WRONG = {
    "rank is 0; it must be": {"rank": 0},
    "alpha is -1": {"rank": 1, "alpha": -1.0},
    "targets is 'head'; it must be a list": {"rank": 1, "targets": "head"},
    "train is 'head'; it must be a list": {"rank": 1, "train": "head"},
    "targets has 'hed', which names no linear layer.*has .*'head'": {"rank": 1, "targets": ["hed"]},
    "train has 'hed', which names no parameter.*has .*'head.weight'": {"rank": 1, "train": ["hed"]},
}


@pytest.mark.parametrize("message", WRONG)
def test_what_cannot_be_is_refused_with_what_can(message):
    with pytest.raises(ValueError, match=message):
        lora(Convolves, **WRONG[message])()


def test_nothing_to_train_and_no_module_are_refused():
    with pytest.raises(ValueError, match="no trainable parameters"):
        TorchTrainer(hr.Task(lora(nn.Tanh, rank=1)))
    with pytest.raises(ValueError, match="gave 3; it must give"):
        lora(lambda: 3, rank=1)()
    with pytest.raises(ValueError, match="'weight' has no shape until"):
        lora(lambda: nn.LazyLinear(3), rank=1)()
    normed = nn.utils.parametrizations.weight_norm
    with pytest.raises(ValueError, match="'weight' is computed from others"):
        lora(lambda: normed(nn.Linear(3, 3)), rank=1)()


def test_a_state_of_another_model_is_not_merged():
    tuned = lora(dense, rank=2)
    state = tuned().state_dict()
    with pytest.raises(ValueError, match=r"misses '0.bias'"):
        tuned.merge({n: t for n, t in state.items() if n != "0.bias"})
    with pytest.raises(ValueError, match=r"has 'more', not in the model"):
        tuned.merge({**state, "more": torch.zeros(1)})
    with pytest.raises(ValueError, match="not those of this model"):
        lora(dense, rank=1).merge(state)
