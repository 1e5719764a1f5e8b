"""Generators of many clients, made side by side, are those that are made one by one."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hedgerow import rng

WORD = st.integers(0, 2**32 - 1)


@given(
    seed=st.integers(),
    purpose=st.text(max_size=9),
    round=st.integers(0, 2**40),
    clients=st.lists(st.text(max_size=12), max_size=9),
)
def test_a_client_has_the_same_stream(seed, purpose, round, clients):
    made = list(rng.client_generators(seed, purpose, round=round, clients=clients))
    alone = [rng.generator(seed, purpose, round=round, client=client) for client in clients]
    assert [each.bit_generator.state for each in made] == [each.bit_generator.state for each in alone]


@given(st.lists(st.lists(WORD, min_size=4, max_size=4), min_size=1, max_size=5))
def test_words_are_mixed_as_numpy_mixes_them(seeds):
    words = np.array(seeds, np.uint32)
    expected = [np.random.SeedSequence(seed).generate_state(4, np.uint64) for seed in words]
    assert np.array_equal(rng._states(words), expected)
