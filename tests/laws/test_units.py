"""Units of whole numbers under noise: the smallest that holds what is summed."""

from math import ceil, sqrt

import numpy as np
import pytest

from hedgerow import rng
from hedgerow.privacy.skellam import LARGEST_VARIANCE, tail
from hedgerow.strategies import randomized_round
from hedgerow.strategies.transforms.client_noise import unit_for


def test_a_unit_is_the_smallest_power_of_two_that_holds_the_sum_and_its_noise():
    """By the arithmetic that is written down, for drawn sizes: half of it does not hold them."""
    own = rng.generator(0, "units")
    for _ in range(100):
        norm, multiplier = 10.0 ** own.uniform(-3, 3), 10.0 ** own.uniform(-1, 1.5)
        min_honest, clients, bits = (
            int(own.integers(1, 2000)),
            int(own.integers(1, 300)),
            int(own.choice([16, 32])),
        )

        def holds(unit, norm=norm, multiplier=multiplier, honest=min_honest, clients=clients, bits=bits):
            variance = (1.25 * multiplier * norm / sqrt(honest) / unit) ** 2
            largest = clients * norm / unit + clients + tail(ceil(clients * variance), 72.0)
            return largest <= 2 ** (bits - 1) - 1 and variance < LARGEST_VARIANCE

        unit = unit_for(norm, multiplier, min_honest, bits, clients=clients)
        assert np.frexp(unit)[0] == 0.5
        assert (holds(unit), holds(unit / 2)) == (True, False)


def test_a_norm_of_two_to_the_thirty_units_is_refused_and_less_is_not():
    assert randomized_round(1.0, 2.0**30 - 64).kinds
    with pytest.raises(ValueError, match=r"norm / unit is .*; it must be below 2\*\*30: take a larger unit"):
        randomized_round(1.0, 2.0**30)
