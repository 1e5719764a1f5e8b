"""Each server rule against its formula, written out value by value in float64."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.strategies import server_update

deltas = st.lists(st.lists(st.floats(-1, 1, width=32), min_size=3, max_size=3), min_size=1, max_size=6)
RATE, BETA_1, BETA_2, TAU = 0.05, 0.9, 0.99, 1e-3


def formula(name, w, steps):
    """Reddi et al. 2021, algorithm 2; Hsu et al. 2019, section 4.3."""
    m, v, velocity = 0.0, TAU**2, 0.0
    for delta in steps:
        if name == "sgd":
            w += RATE * delta
            continue
        if name == "momentum":
            velocity = BETA_1 * velocity + delta
            w += RATE * velocity
            continue
        beta_1 = 0.0 if name == "adagrad" else BETA_1
        m = beta_1 * m + (1 - beta_1) * delta
        square = delta**2
        if name == "adagrad":
            v += square
        elif name == "adam":
            v = BETA_2 * v + (1 - BETA_2) * square
        else:
            v -= (1 - BETA_2) * square * math.copysign(1, v - square) if v != square else 0
        w += RATE * m / (math.sqrt(v) + TAU)
    return w


RULES = {
    "sgd": server_update.sgd(RATE),
    "momentum": server_update.momentum(RATE, BETA_1),
    "adam": server_update.adam(RATE, BETA_1, BETA_2, TAU),
    "yogi": server_update.yogi(RATE, BETA_1, BETA_2, TAU),
    "adagrad": server_update.adagrad(RATE, TAU),
}


@pytest.mark.parametrize("name", RULES)
@given(steps=deltas)
def test_the_rule_is_its_formula(name, steps):
    rule = RULES[name]
    w, state = np.ones(3, np.float32), rule.init(3)
    for delta in steps:
        before = w.copy()
        new, state = rule(w, np.array(delta, np.float32), state)
        assert (w == before).all(), "the argument was changed"
        w = new
    expected = [formula(name, 1.0, [step[i] for step in steps]) for i in range(3)]
    np.testing.assert_allclose(w, expected, rtol=2e-3, atol=2e-4)
    assert w.dtype == np.float32
    assert all(values.dtype == np.float32 for values in state.values())


def test_every_rule_of_the_module_is_tested():
    made = [n for n in vars(server_update) if not n.startswith("_") and n in RULES]
    assert sorted(made) == ["adagrad", "adam", "momentum", "sgd", "yogi"]


@pytest.mark.parametrize("rule", [server_update.sgd, server_update.adam, server_update.adagrad])
@pytest.mark.parametrize("rate", [0, -1, math.nan, math.inf])
def test_a_learning_rate_must_be_positive(rule, rate):
    with pytest.raises(ValueError, match="learning_rate"):
        rule(rate)
