"""What a client holds out it never trains on, and it is the same part in each run."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.datasets import Dataset, HeldOut, from_arrays, iid
from hedgerow.datasets.held_out import WAYS, hold_out
from hedgerow.experiments.config.errors import ConfigError
from hedgerow.experiments.config.recipe import load
from hedgerow.types import Samples
from tests.support import clients

fractions = st.floats(0.01, 0.99)
ways = st.sampled_from(WAYS)


@given(st.integers(0, 60), fractions, ways, st.integers(0, 9))
def test_each_sample_is_on_one_side_and_neither_side_is_empty(samples, fraction, by, seed):
    trained, held = hold_out(samples, fraction, by, client="a", seed=seed)
    assert sorted([*trained, *held]) == list(range(samples))
    assert len(trained) >= min(1, samples)
    assert len(held) >= (samples > 1)
    assert [part.tolist() for part in hold_out(samples, fraction, by, client="a", seed=seed)] == [
        trained.tolist(),
        held.tolist(),
    ]


@given(st.integers(20, 60), st.integers(1, 30), st.floats(0.3, 0.7))
def test_samples_that_are_added_at_the_end_move_no_other_one(samples, more, fraction):
    _, before = hold_out(samples, fraction, "random", client="a", seed=1)
    _, after = hold_out(samples + more, fraction, "random", client="a", seed=1)
    assert before.tolist() == [place for place in after if place < samples]


def test_at_random_about_the_share_is_held_out_and_each_client_draws_for_itself():
    held = [set(hold_out(1000, 0.2, "random", client=name, seed=0)[1]) for name in "abcdefghij"]
    assert sum(map(len, held)) == pytest.approx(2000, abs=5 * np.sqrt(10_000 * 0.16))
    assert len(held[0] & held[1]) < 100


def test_by_time_the_last_samples_are_held_out():
    assert hold_out(10, 0.25, "time", client="a", seed=0)[1].tolist() == [8, 9]


@pytest.fixture
def dataset() -> Dataset:
    x = np.arange(200, dtype=np.float32).reshape(100, 2)
    return from_arrays(x, np.arange(100) % 4, test=0.2)


@pytest.mark.parametrize("by", WAYS)
def test_a_federation_gives_what_it_holds_out_to_nobody_to_train_on(dataset, by):
    whole = dataset.split(iid(4), 0)
    parted = whole.hold_out(0.3, by, seed=0)
    for name in whole.names:
        rows = {tuple(row) for row in whole.samples(name).x}
        trained = {tuple(row) for row in parted.samples(name).x}
        held = {tuple(row) for row in parted.held_out(name).x}
        assert trained | held == rows
        assert not trained & held
        wrapped = HeldOut(whole, 0.3, by, seed=0)
        np.testing.assert_array_equal(wrapped.held_out(name).x, parted.held_out(name).x)
    assert parted.sizes().sum() + sum(map(len, parted.held)) == whole.sizes().sum()
    with pytest.raises(ValueError, match="already holds samples out"):
        parted.hold_out(0.3)
    with pytest.raises(ValueError, match=r"hold no samples out; make the federation with hold_out"):
        whole.held_out(whole.names[0])


def test_a_client_of_one_sample_trains_on_it():
    one = HeldOut(clients(1), 0.5)
    name = one.names[0]
    lonely = HeldOut(type(clients(1))({name: Samples(np.ones((1, 2)), np.zeros(1, np.int64))}), 0.5)
    assert len(lonely.samples(name)) == 1
    assert len(lonely.held_out(name)) == 0


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("data.held_out=1.0", "data.held_out = 1.0: it must be a number above 0 and below 1"),
        ("data.held_out=0", "data.held_out = 0: it must be a number above 0 and below 1"),
        ("data.held_out_by=size", "data.held_out_by = \"size\": it must be one of 'random', 'time'"),
        ("evaluation.clients=some", 'evaluation.clients = "some": it must be "all", or a number above 0'),
        ("evaluation.clients=1.5", "evaluation.clients = 1.5: it must be a number above 0 and at most 1"),
        ("evaluation.per_client=true", "evaluation.per_client = true: it needs evaluation.clients"),
    ],
)
def test_a_configuration_says_what_may_be_held_out_and_by_whom_it_is_measured(override, told):
    with pytest.raises(ConfigError) as caught:
        load("heart", [override])
    assert told in str(caught.value)
