"""Laws of the robust rules: order, translation, scale, and how far arbitrary vectors can move them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hedgerow as hr
from hedgerow.types import PayloadError

RULES = ["median()", "trimmed_mean(0.2)", "krum(0.2)", "krum(0.2, 3)", "geometric_median()"]
CLAIMS = {"median()": 0.49, "trimmed_mean(0.2)": 0.2, "krum(0.2)": 0.2, "geometric_median()": 0.4}
quick = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**32 - 1)


def combined(text: str, rows: np.ndarray, names: list[str] | None = None) -> np.ndarray:
    rule = hr.parse_aggregate(text)
    total = rule.start(rows.shape[1], len(rows))
    for number, row in enumerate(rows):
        total.add(names[number] if names else f"{number:03d}", row.astype(np.float32), 1.0)
    return rule.apply(total, rule.init(rows.shape[1]))[0]


def drawn(seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.normal(size=(int(random.integers(9, 16)), int(random.integers(1, 40)))).astype(np.float32)


@pytest.mark.parametrize("text", RULES)
@given(seeds)
@quick
def test_the_order_of_arrival_shows_in_no_bit(text, seed):
    rows = drawn(seed)
    names = [f"{number:03d}" for number in range(len(rows))]
    shuffled = np.random.default_rng(seed).permutation(len(rows))
    again = combined(text, rows[shuffled], [names[place] for place in shuffled])
    assert combined(text, rows, names).tobytes() == again.tobytes()


@pytest.mark.parametrize("text", RULES)
@given(seeds)
@quick
def test_who_sent_what_shows_at_most_in_rounding(text, seed):
    rows = drawn(seed)
    shuffled = np.random.default_rng(seed).permutation(len(rows))
    np.testing.assert_allclose(combined(text, rows[shuffled]), combined(text, rows), atol=1e-5)


@pytest.mark.parametrize("text", RULES)
@given(seeds, st.floats(-100, 100, width=32), st.sampled_from([0.25, 2.0, 64.0]))
@quick
def test_what_is_moved_or_scaled_is_moved_or_scaled(text, seed, by, scale):
    rows = drawn(seed)
    np.testing.assert_allclose(
        combined(text, rows + np.float32(by)), combined(text, rows) + by, atol=1e-3 + 1e-5 * abs(by)
    )
    np.testing.assert_allclose(combined(text, rows * scale), combined(text, rows) * scale, atol=1e-4 * scale)


@pytest.mark.parametrize("text", CLAIMS)
@given(seeds, st.sampled_from([1.0, 1e3, 1e12, -1e30]))
@quick
def test_with_the_fraction_it_claims_of_arbitrary_vectors_it_stays_near_the_honest_ones(text, seed, size):
    rows = drawn(seed)
    bad = int(CLAIMS[text] * len(rows))
    attack = np.random.default_rng(seed + 1).normal(1.0, 0.1, size=(bad, rows.shape[1])).astype(np.float32)
    found = combined(text, np.concatenate([rows[bad:], attack * np.float32(size)]))
    honest = rows[bad:].astype(np.float64)
    if text == "geometric_median()":
        fraction, centre = bad / len(rows), honest.mean(0)
        reach = np.linalg.norm(honest - centre, axis=1).max()
        assert np.linalg.norm(found - centre) <= 2 * (1 - fraction) / (1 - 2 * fraction) * reach + 1e-5
    elif text == "krum(0.2)":
        # One of the honest, or one of the attackers that stands among them.
        assert np.linalg.norm(found - honest, axis=1).min() <= np.linalg.norm(honest, axis=1).max() * 2 + 1e-5
    else:
        assert (found >= honest.min(0) - 1e-6).all()
        assert (found <= honest.max(0) + 1e-6).all()


def test_the_mean_has_no_such_bound():
    rows = np.concatenate([np.zeros((9, 2)), np.full((1, 2), 1e6)])
    assert combined("mean()", rows).max() == pytest.approx(1e5)


@pytest.mark.parametrize("text", RULES)
@pytest.mark.parametrize("parts", [2, 3])
def test_counted_in_parts_and_merged_it_is_the_same(text, parts):
    rows, rule = drawn(5), hr.parse_aggregate(text)
    totals = [rule.start(rows.shape[1], len(rows)) for _ in range(parts)]
    for number, row in enumerate(rows):
        totals[number % parts].add(f"{number:03d}", row, 1.0)
    for other in totals[1:]:
        totals[0].merge(other)
    assert rule.apply(totals[0], {})[0].tobytes() == combined(text, rows).tobytes()


@pytest.mark.parametrize("text", RULES)
def test_what_is_not_finite_or_of_another_shape_is_refused_by_name(text):
    total = hr.parse_aggregate(text).start(2, 3)
    with pytest.raises(PayloadError, match="1 of 2 values are not finite"):
        total.add("a", np.array([1, np.nan], np.float32), 1.0)
    with pytest.raises(PayloadError, match="shape"):
        total.add("a", np.ones(3, np.float32), 1.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trimmed_mean(0.5)", "it must be below 0.5"),
        ("krum(0.5)", "it must be below 0.5"),
        ("geometric_median(0.0)", "smoothing is 0.0"),
        ("medain()", "Did you mean 'median'"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_with_what_is_allowed(text, message):
    with pytest.raises(ValueError, match=message):
        hr.parse_aggregate(text)


def test_weights_and_rules_that_count_all_alike_are_refused_together():
    with pytest.raises(ValueError, match="counts all clients the same"):
        hr.fedavg(aggregate=hr.median(), weighted=True)
    assert "weight" not in hr.fedavg(aggregate=hr.median()).pipeline.kinds
