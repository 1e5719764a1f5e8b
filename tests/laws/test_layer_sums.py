"""Layer by layer, one sample more moves the private sum by the clip at most, after all rounding."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus.grad_sample import GradSampleModuleFastGradientClipping
from torch import Tensor, nn

from hedgerow.client.task import Task
from hedgerow.client.torch import layer_sums
from hedgerow.client.torch.layers import Part
from hedgerow.client.torch.samples import CLIP_UNITS
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.client.torch.with_opacus import opacus_layers
from hedgerow.types import LocalTraining, Samples

CLIPS = (1e-6, 0.3, 1.0, 1e5)
SHAPES = ((3, 5), (1, 40), (7, 2))
"""Of outer products; a plain part of 11 values follows."""

DIMENSION = sum(o * p for o, p in SHAPES) + 11


def rows(random: np.random.Generator, n: int, width: int) -> np.ndarray:
    """`(n, width) float32` of any size: even, in one place, denormal, zero, or not finite."""
    values = random.standard_t(1.5, (n, width)) * 10.0 ** random.uniform(-40, 20, (n, 1))
    spread = random.random(n)
    values[spread < 0.2, 1:] = 0.0
    values[(spread > 0.2) & (spread < 0.4)] = np.sign(values[(spread > 0.2) & (spread < 0.4)]) * 2.6e-23
    values[spread > 0.97] = 0.0
    with np.errstate(over="ignore"):
        found = values.astype(np.float32)
    if random.random() < 0.2:
        found[random.integers(n), random.integers(width)] = random.choice([np.nan, np.inf, -np.inf])
    return found


def adversarial(seed: int, n: int) -> list[Part]:
    random = np.random.default_rng(seed)
    parts, start = [], 0
    for o, p in SHAPES:
        left, right = (torch.from_numpy(rows(random, n, width)) for width in (o, p))
        parts.append(Part(start, left, right))
        start += o * p
    return [*parts, Part(start, None, torch.from_numpy(rows(random, n, 11)))]


def some(parts: list[Part], kept: list[int]) -> list[Part]:
    return [Part(p.start, None if p.left is None else p.left[kept], p.right[kept]) for p in parts]


def exact(parts: list[Part], k: int) -> np.ndarray:
    """A sample's gradient: products of two float32 are exact in float64."""
    found = np.zeros(DIMENSION)
    for part in parts:
        right = part.right[k].double().numpy()
        left = np.ones(1) if part.left is None else part.left[k].double().numpy()
        with np.errstate(invalid="ignore"):
            found[part.place] = np.outer(left, right).ravel()
    return found


def length(vector: np.ndarray | Tensor) -> int:
    """Squared, in whole numbers."""
    return sum(int(v) ** 2 for v in vector.tolist())


@given(st.integers(0, 2**32), st.sampled_from(CLIPS), st.integers(2, 9))
@settings(deadline=None, max_examples=80)
def test_a_sample_adds_whole_numbers_within_the_clip_that_follow_from_it_alone(seed, clip, n):
    parts = adversarial(seed, n)
    total = layer_sums.whole_sum(parts, clip, DIMENSION)
    alone = [layer_sums.whole_sum(some(parts, [k]), clip, DIMENSION) for k in range(n)]
    assert torch.equal(total, sum(alone))  # no rounding, in any order
    without = layer_sums.to_clip_units(total - alone[0])
    assert length(layer_sums.to_clip_units(total) - without) <= CLIP_UNITS**2
    for k, own in enumerate(alone):
        true = exact(parts, k)
        if not np.isfinite(true).all():
            assert not own.any()
            continue
        norm = np.linalg.norm(true)
        scale = min(1.0, clip / norm) if norm else 0.0
        units = true * (scale / clip * 2.0**42)
        # Cut towards zero: never longer, and shorter by no more than a few units of either factor.
        assert own.double().norm() <= np.linalg.norm(units) * (1 + 1e-12)
        assert np.linalg.norm(own.double().numpy() - units) <= 2e-5 * 2.0**42


def largest(clip: float, seeds: range) -> float:
    """How far a sample moves a sum at most, relative to the clip."""
    found = 0
    for seed in seeds:
        parts = adversarial(seed, 4)
        sums = [
            layer_sums.to_clip_units(layer_sums.whole_sum(some(parts, kept), clip, DIMENSION))
            for kept in ([0, 1, 2, 3], [1, 2, 3])
        ]
        found = max(found, length(sums[0] - sums[1]))
    return found**0.5 / CLIP_UNITS


def in_float32(rows: Tensor | None) -> Tensor:
    norms = torch.ones(()) if rows is None else rows.float().square().sum(1).sqrt()
    return norms.double()


def test_the_clip_is_reached_and_with_norms_in_float32_it_would_be_passed(monkeypatch):
    small = [Part(0, torch.full((1, 5), 1e18), torch.full((1, 16), 2.6e-23))]

    def alone() -> float:
        return (
            length(layer_sums.to_clip_units(layer_sums.whole_sum(small, 1e-6, DIMENSION))) ** 0.5 / CLIP_UNITS
        )

    assert 1 - 1e-4 < largest(1e-6, range(100)) <= 1
    assert 1 - 1e-4 < alone() <= 1
    monkeypatch.setattr(layer_sums, "_norms", in_float32)
    assert largest(1e-6, range(100)) > 1
    small[0] = Part(0, small[0].right, small[0].left)
    assert alone() > 10


@given(st.integers(0, 2**32), st.sampled_from(CLIPS))
@settings(deadline=None, max_examples=60)
def test_in_the_mean_too_no_sample_is_longer_than_the_clip(seed, clip):
    parts = adversarial(seed, 1)
    if np.isfinite(exact(parts, 0)).all():
        out = torch.zeros(DIMENSION)
        layer_sums.add_to_mean(parts, clip, 1, out)
        assert out.double().norm() <= clip


class Sequence(nn.Module):
    """Two instants that are nearly alike, and a gradient of each that nearly cancels the other."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3, bias=False)

    def forward(self, x):
        h = self.layer(x)
        return 1e6 * (h[:, 0] - h[:, 1])


def nearly_alike():
    x = torch.rand(1, 2, 4, generator=torch.Generator().manual_seed(42))
    x[:, 1] = x[:, 0] * (1 + 2.0**-13)
    return zeroed(Sequence()), x, 1, 1.0


def squares_underflow():
    net = zeroed(nn.Sequential(*(nn.Linear(*sizes, bias=False) for sizes in ((64, 64), (64, 48), (48, 2)))))
    net[0].weight.data.copy_(torch.eye(64) * 2.5e-23)
    net[2].weight.data.copy_(torch.tensor([[1.0], [-1.0]]) * 2e18)
    return net, torch.ones(1, 64), 0, 1e-4


def weights_cancel():
    """The first pass back finds a sum of zero; the second, of the scaled loss, rounds it to something."""
    net = zeroed(nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 3)))
    net[1].weight.data.fill_(1e8)
    torch.manual_seed(553)
    net[1].bias.data.copy_(torch.randn(1, 3)[0])
    return net, torch.ones(1, 2), 0, 0.3


def zeroed(net):
    for p in net.parameters():
        nn.init.zeros_(p)
    return net


def ghost(net, x, target, clip) -> float:
    """The length that Opacus adds a sample with: norms, and a second pass of the scaled losses."""
    module = GradSampleModuleFastGradientClipping(
        copy.deepcopy(net), max_grad_norm=clip, loss_reduction="sum"
    )
    losses = nn.functional.cross_entropy(module(x), torch.tensor([target]), reduction="none")
    losses.sum().backward(retain_graph=True)
    scale = module.get_clipping_coef().detach()
    for p in module.parameters():
        p.grad = None
    module.disable_hooks()
    (scale * losses).sum().backward()
    return torch.cat([p.grad.flatten().double() for p in module.parameters()]).norm().item()


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")  # of Opacus's own hooks
@pytest.mark.parametrize(
    ("case", "times"), [(nearly_alike, 20), (squares_underflow, 10), (weights_cancel, 10)]
)
def test_weights_that_pass_the_clip_of_ghost_clipping_do_not_pass_it_here(case, times):
    net, x, target, clip = case()
    trainer = TorchTrainer(Task(lambda: copy.deepcopy(net)))
    layers = opacus_layers(trainer._net, trainer.objective.loss)
    local = LocalTraining(clip_samples=clip, sample_gradients="opacus")
    assert trainer._way(Samples(x.numpy(), np.array([target])), local, "").name == "opacus"
    _, parts = layers.split(x, torch.tensor([target]))
    total = layer_sums.to_clip_units(layer_sums.whole_sum(parts, clip, trainer.layout.dimension))
    assert length(total) <= CLIP_UNITS**2
    assert ghost(net, x, target, clip) > times * clip
