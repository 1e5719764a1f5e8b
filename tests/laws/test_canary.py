"""The rule of a canary at its boundaries."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.promotion.canary import Canary, Comparison, judge
from hedgerow.types.evaluation import Measured

NAMES = ("a", "b", "c", "d")


def measured(values: dict[str, float], metric: str = "accuracy") -> dict[str, Measured]:
    return {name: Measured(10, {metric: value}) for name, value in values.items()}


def compared(gains: dict[str, float], metric: str = "accuracy", asked=NAMES) -> Comparison:
    current = dict.fromkeys(gains, 0.5)
    candidate = {name: 0.5 + gain for name, gain in gains.items()}
    return Comparison(asked, measured(candidate, metric), measured(current, metric))


@given(st.integers(-20, 20), st.integers(0, 20))
def test_a_gain_of_just_what_is_asked_for_is_enough_and_anything_less_is_not(gain, better):
    found = judge(Canary(1.0, better=better / 100, worse=1.0), compared(dict.fromkeys(NAMES, gain / 100)))
    assert (not found.why) == (gain >= better)
    assert found.figures["gain"] == pytest.approx(gain / 100)


@given(st.integers(0, 20), st.integers(0, 20))
def test_a_group_may_lose_just_what_is_allowed_and_nothing_more(loss, worse):
    gains = {"a": 0.9, "b": -loss / 100, "c": 0.0, "d": 0.0}
    found = judge(Canary(1.0, worse=worse / 100), compared(gains))
    assert (not found.why) == (loss <= worse)
    assert ("group 'b'" in found.why) == (loss > worse)


@given(st.lists(st.floats(-0.4, 0.4), min_size=4, max_size=4), st.booleans())
def test_a_group_is_the_mean_of_its_devices_and_less_is_better_turns_the_sign(gains, less):
    by_name = dict(zip(NAMES, gains, strict=True))
    metric = "loss" if less else "accuracy"
    told = compared({name: -gain if less else gain for name, gain in by_name.items()}, metric)
    found = judge(Canary(1.0, worse=10.0), told, {"a": "north", "b": "north", "c": "south"})
    assert found.figures["groups"] == pytest.approx(
        {"north": (gains[0] + gains[1]) / 2, "south": gains[2], "d": gains[3]}
    )
    assert found.figures["gain"] == pytest.approx(sum(gains) / 4)


@given(st.permutations(NAMES))
def test_the_order_of_devices_shows_nowhere(order):
    gains = {"a": 0.1, "b": 0.2, "c": 1e-17, "d": -0.1}
    one = judge(Canary(1.0, worse=0.2), compared(gains))
    other = judge(Canary(1.0, worse=0.2), compared({name: gains[name] for name in order}))
    assert one.figures["gain"] == other.figures["gain"]


def test_at_least_half_of_those_who_were_asked_must_have_measured_both():
    assert not judge(Canary(0.5), compared({"a": 0.1, "b": 0.1})).why
    assert "1 of 4 devices measured both" in judge(Canary(0.5), compared({"a": 0.1})).why
    assert "0 of 0 devices" in judge(Canary(0.5), compared({}, asked=())).why
    lost = compared({"a": 0.1, "b": 0.1, "c": math.nan})
    assert judge(Canary(1.0), lost).figures["measured"] == ["a", "b"]
    half = Comparison(NAMES, measured({"a": 1.0, "b": 1.0}), measured({"b": 0.5, "c": 0.5}))
    assert "1 of 4 devices" in judge(Canary(1.0), half).why


def test_what_nobody_has_measured_decides_nothing():
    assert "0 of 4 devices" in judge(Canary(1.0, metric="recall"), compared({"a": 0.1, "b": 0.1})).why
    for wrong in ({"share": 0.0}, {"share": 0.5, "better": -1.0}, {"share": 0.5, "worse": math.nan}):
        with pytest.raises(ValueError, match="it must be"):
            Canary(**wrong)


def test_who_did_not_measure_is_counted_by_reason_in_a_sentence_of_a_bounded_length():
    dropped = {f"device {n:03}": f"reason {n % 7}" for n in range(300)}
    why = judge(Canary(1.0), Comparison(sorted(dropped), {}, {}, dropped)).why
    assert "0 of 300 devices measured both models; at least half must (43 of them: reason 0; " in why
    assert why.count("of them") == 3
    assert len(why) < 200
