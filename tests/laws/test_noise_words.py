"""What samplers of noise make of chosen words: also where 63 bits, and more, are too few to decide."""

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest

from hedgerow.privacy import discrete_gaussian as exact
from hedgerow.privacy import skellam as tables
from hedgerow.privacy.discrete_gaussian import LARGEST_SIGMA, discrete_gaussian, uniform_below

ONES = 2**64 - 1


class Given:
    """A source of the words that it is given, and no others."""

    def __init__(self, *words: int) -> None:
        self._words, self.taken = list(words), 0

    def __call__(self, n: int) -> np.ndarray:
        """The next words."""
        found, self._words = self._words[:n], self._words[n:]
        assert len(found) == n, "more words are taken than expected"
        self.taken += n
        words = np.array(found, np.uint64)
        words.flags.writeable = False  # as the operating system's are
        return words


def exponent(probability: Decimal) -> tuple[int, int]:
    """`(a, b)` of whole numbers with `exp(-a / b)` of this size, to 150 digits."""
    scale = 10**150
    return int(-probability.ln() * scale), scale


VALUES = (1, 2**61 + 12_345, 2**62, 2**63 - 2)


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("below", [True, False])
@pytest.mark.parametrize(("apart", "words"), [
    ("1.1e-40", 0), ("0.9e-40", 1), ("1.1e-80", 1), ("0.9e-80", 2), ("1.1e-120", 2), ("0.9e-120", 3),
])  # fmt: skip
def test_further_words_are_taken_only_as_long_as_the_digits_leave_it_open(value, below, apart, words):
    """50 digits decide beyond 1e-40, 90 beyond 1e-80, and so on."""
    with localcontext() as context:
        context.prec = 220
        unit = Decimal(2) ** -63
        # The words that keep the number at the end of its range that is next to the probability.
        end = (value + 1) * unit + Decimal(apart) if below else value * unit - Decimal(apart)
        given = Given(*([ONES if below else 0] * words))
        assert exact._below(value, exponent(end), given) == below
        assert given.taken == words


def test_a_number_below_a_probability_of_one_is_below_it_at_the_first_word_that_is_not_all_ones():
    assert exact._below(2**63 - 2, (0, 1), Given())
    assert exact._below(2**63 - 1, (0, 1), Given(ONES - 1))
    assert exact._below(2**63 - 1, (0, 1), Given(ONES, ONES, 5))
    assert not exact._below(2**63 - 1, (1, 10**30), Given(ONES))


@pytest.mark.parametrize("k", range(9))
def test_a_block_is_decided_by_as_many_words_as_it_takes(k):
    table, ends = exact._thresholds()
    with localcontext() as context:
        context.prec = 400
        bits = int(ends[k] * 2 ** (63 + 3 * 64))
    words = [bits >> 64 * (2 - place) & ONES for place in range(3)]
    value = bits >> 3 * 64
    assert value == int(table[k])
    assert exact._block(value - 1, ends, Given()) == k
    assert exact._block(value + 1, ends, Given()) == k + 1
    for place in range(3):
        for change, block in ((-1, k), (1, k + 1)):
            given = Given(*words[:place], words[place] + change)
            assert exact._block(value, ends, given) == block
            assert given.taken == place + 1
            one = Given(*words[:place], words[place] + change)
            assert exact._blocks(np.array([value], np.uint64), one).tolist() == [block]
    assert exact._blocks(np.array([value - 1, value + 1], np.uint64), Given()).tolist() == [k, k + 1]


def test_thresholds_are_sums_of_the_weights_to_four_hundred_digits():
    table, ends = exact._thresholds()
    with localcontext() as context:
        context.prec = 450
        weights = [(-Decimal(k) * k / 2).exp() for k in range(40)]
        for k in range(39):
            known = sum(weights[: k + 1]) / sum(weights)
            assert abs(ends[k] - known) < Decimal(10) ** -395
            assert int(table[k]) == int(known * 2**63)
    assert len(ends) == len(table) == 39


@pytest.mark.parametrize("bound", [3, 10, 1000, 2**52 - 1])
def test_a_word_from_which_on_there_are_too_few_is_drawn_again(bound):
    allowed = 2**64 // bound * bound
    given = Given(allowed, 5, allowed - 1, allowed, allowed - 2)
    assert uniform_below(bound, 3, given).tolist() == [(allowed - 2) % bound, 5 % bound, bound - 1]
    assert given.taken == 5
    for power in (1, 2, 64, 2**52):
        assert uniform_below(power, 2, Given(ONES, 7)).tolist() == [power - 1, 7 % power]


def test_a_table_decides_at_its_entries_to_the_last_bit():
    made = tables._Table([1, 3], 4, np.array([2**61, 3 * 2**61], np.uint64))
    for value, size in ((2**61 - 1, 0), (2**61, 1), (3 * 2**61 - 1, 1), (3 * 2**61, 2), (2**63 - 1, 2)):
        assert tables._decide(value, made, Given()) == size


@pytest.mark.parametrize("variance", [1, 9, 1000])
def test_a_size_is_decided_by_as_many_words_as_it_takes(variance):
    table = tables._table(variance)
    for k in range(5):
        bits = (table.entries[k] << 63 + 3 * 64) // table.whole
        words = [bits >> 64 * (2 - place) & ONES for place in range(3)]
        value = bits >> 3 * 64
        assert tables._decide(value - 1, table, Given()) == k
        for place in range(3):
            for change, size in ((-1, k), (1, k + 1)):
                given = Given(*words[:place], words[place] + change)
                assert tables._decide(value, table, given) == size
                assert given.taken == place + 1
                drawn = Given(value << 1 | 1, *words[:place], words[place] + change)
                assert tables.skellam(variance, 1, drawn).tolist() == [-size]


@pytest.mark.parametrize("sigma", [1, 7, 1000, LARGEST_SIGMA])
def test_candidates_are_a_block_a_place_within_it_and_a_choice(sigma):
    """Each is `k sigma + u` with its sign, kept below `exp(-(2 k u sigma + u^2) / (2 sigma^2))`."""
    table, _ = exact._thresholds()
    for k in range(4):
        word = int(table[k - 1]) + 9 if k else 5
        for u in {0, 1 % sigma, sigma // 3, sigma - 1}:
            chance = np.exp(-(2.0 * k * u * sigma + float(u) ** 2) / (2.0 * sigma**2))
            for negative in (0, 1):
                zero = bool(negative and not k and not u)
                for uniform, kept in ((0.999999 * chance, not zero), (min(1.000001 * chance, 1.0), False)):
                    if uniform == 1.0:
                        continue  # no word is that much
                    last = int(uniform * 2**63) << 1
                    given = Given(word << 1 | negative, u, last)
                    known = [-(k * sigma + u) if negative else k * sigma + u]
                    assert exact._candidates(sigma, 1, given).tolist() == (known if kept else [])


@pytest.mark.parametrize("sigma", [1, 7, 2**37 + 12_345])
def test_only_what_is_too_close_to_call_is_decided_by_its_exact_exponent(monkeypatch, sigma):
    asked, table = [], exact._thresholds()[0]
    for band, decided in ((2.0, True), (exact._BAND, False)):
        monkeypatch.setattr(exact, "_BAND", band)
        for k in range(3):
            for u in {0, 1 % sigma, sigma - 1}:
                for last in (5, 2**62, 2**63 - 2**24):
                    gap = last / 2**63 - np.exp(-(2.0 * k * u * sigma + float(u) ** 2) / (2.0 * sigma**2))
                    if abs(gap) < 1e-9 and not decided:
                        continue
                    kept, word = gap > 0, int(table[k - 1]) + 9 if k else 5  # the other way round

                    def below(value, exponent, source, kept=kept):
                        asked.append((value, exponent))
                        return kept

                    monkeypatch.setattr(exact, "_below", below)
                    found = exact._candidates(sigma, 1, Given(word << 1, u, last << 1 | 1)).tolist()
                    assert found == ([k * sigma + u] if kept == decided else [])
                    known = [(last, (2 * k * sigma * u + u * u, 2 * sigma**2))]
                    assert asked == (known if decided else [])
                    asked.clear()


@pytest.mark.parametrize(
    ("variance", "nats"), [(1, 0.4), (1, 72.0), (50, 72.0), (10_000, 5.0), (10**6, 900.0)]
)
def test_a_tail_is_found_by_doubling_and_halving(monkeypatch, variance, nats):
    asked = []

    class Watched:
        hypot = math.hypot

        @staticmethod
        def asinh(value):
            asked.append(round(value * variance))
            return math.asinh(value)

    def bound(t):
        return t * math.asinh(t / variance) - t**2 / (math.hypot(t, variance) + variance)

    monkeypatch.setattr(tables, "math", Watched)
    found, known = tables.tail(variance, nats), [1]
    while bound(known[-1]) < nats:
        known.append(2 * known[-1])
    low, high = known[-1] // 2, known[-1]
    while high - low > 1:
        known.append((low + high) // 2)
        low, high = (low, known[-1]) if bound(known[-1]) >= nats else (known[-1], high)
    assert (asked, found) == (known, high + 1)


def test_candidates_are_drawn_half_as_many_again_and_sixteen_and_at_most_so_many(monkeypatch):
    asked = []

    def none(sigma, n, source):
        asked.append(n)
        return np.arange(min(n, 100) if len(asked) < 4 else n)

    monkeypatch.setattr(exact, "_candidates", none)
    drawn = discrete_gaussian(3, 1000, Given())
    assert asked == [1516, 1366, 1216, 1066]
    assert drawn.tolist() == [*range(100), *range(100), *range(100), *range(700)]
    asked.clear()
    discrete_gaussian(3, 50_000, Given())
    assert asked[:2] == [65_536, 65_536]
