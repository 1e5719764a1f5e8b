"""Pictures are recovered from what is not protected, and not from what is (arXiv:2003.14053).

Each protected case stands beside the same case with its protection off, in
which the same attack succeeds: a test of an attack that is too weak would fail.
"""

import numpy as np
import pytest
import torch

from benchmarks.inversion.attack import Effort
from benchmarks.inversion.cases import Attacker, harder, plain, private, ring_vectors, secure_sum
from benchmarks.inversion.seen import Victim, ordered
from hedgerow.datasets import load_dataset
from hedgerow.privacy.accounting import epsilon
from hedgerow.privacy.events import Gaussian, PoissonSampled
from hedgerow.strategies import float32, quantize

QUICK = (Effort(starts=2, feature_steps=120, gradient_steps=0),)
ATTACKER = Attacker(Victim(), QUICK)
RECOVERED, LOST = 20.0, 12.0  # dB
ROUNDS, EXPECTED, POPULATION, NOISE = 100, 10, 1000, 0.5


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def pictures():
    return ordered(load_dataset("fashion-mnist").train, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("pipeline", [float32(), quantize(8)], ids=str)
def test_a_single_update_gives_its_picture_away_also_where_it_is_compressed(pictures, pipeline):
    found = plain(ATTACKER, pictures, pipeline, targets=2, each=1, seed=0)
    assert min(found.psnr) > RECOVERED


@pytest.mark.slow
def test_a_masked_update_gives_nothing_away(pictures):
    bare = ring_vectors(ATTACKER, pictures, clients=10, targets=2, seed=0, masks=False)
    masked = ring_vectors(ATTACKER, pictures, clients=10, targets=2, seed=0, masks=True)
    assert min(bare.psnr) > RECOVERED
    assert np.median(masked.psnr) < LOST
    assert masked.gains.max() < 3


@pytest.mark.slow
def test_a_sum_of_many_pictures_gives_none_away(pictures):
    found = secure_sum(ATTACKER, pictures, clients=10, each=60, seed=0)
    assert np.median(found.psnr) < LOST
    assert found.gains.max() < 6


@pytest.mark.slow
def test_at_epsilon_8_a_released_round_gives_nothing_away(pictures):
    # Of a run of 100 rounds, those that are attacked; all of them would add up to less than 8.
    assert epsilon([PoissonSampled(EXPECTED / POPULATION, Gaussian(NOISE))] * ROUNDS, 1e-5) < 8
    hard = Attacker(Victim(), harder(QUICK))
    seen = private(
        hard, ATTACKER, pictures, NOISE, EXPECTED, POPULATION, attacked=(1, 2), num_rounds=2, seed=0
    )
    assert min(seen.clipped.psnr) > RECOVERED
    for found in (seen.alone, seen.released):
        assert np.median(found.psnr) < LOST
        assert found.gains.max() < 3
