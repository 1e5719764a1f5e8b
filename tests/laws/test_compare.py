"""What must hold for the figures and pictures of any runs."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.experiments.report.compare import summarise
from hedgerow.experiments.report.plot_data import even_ticks, log_ticks, pareto
from hedgerow.experiments.report.units import human_bytes
from hedgerow.experiments.runs.recorded import Run

few = st.integers(0, 6).map(float)  # few different values, so that ties are common
points = st.lists(st.tuples(few, few), max_size=30)


@given(points)
def test_a_point_is_on_the_front_exactly_when_no_other_dominates_it(given_points):
    cost, reached = (np.array([p[axis] for p in given_points]) for axis in (0, 1))
    on_front = pareto(cost, reached)
    for place, (c, a) in enumerate(given_points):
        dominated = any(x <= c and y >= a and (x, y) != (c, a) for x, y in given_points)
        assert on_front[place] == (not dominated)


@given(points.filter(bool), st.randoms())
def test_the_front_does_not_depend_on_the_order_of_the_points(given_points, random):
    def front(listed):
        mask = pareto(np.array([p[0] for p in listed]), np.array([p[1] for p in listed]))
        return sorted(p for p, on in zip(listed, mask, strict=True) if on)

    shuffled = list(given_points)
    random.shuffle(shuffled)
    assert front(given_points) == front(shuffled)
    assert front(given_points)


@given(st.integers(0, 10**15 - 10**12))
def test_human_bytes_are_right_to_half_a_percent_and_short(count):
    text = human_bytes(count)
    number, unit = text.split()
    factor = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}[unit]
    assert float(number) * factor == pytest.approx(count, rel=0.005 + 1e-9)
    assert len(text) <= 7


@given(st.floats(1.0, 1e12), st.floats(1.5, 1e6))
def test_ticks_of_bytes_lie_inside_the_axis_and_say_what_they_are(low, ratio):
    ticks = log_ticks(low, low * ratio, "B")
    assert all(low <= place <= low * ratio for place, _ in ticks)
    assert [text for _, text in ticks] == [human_bytes(place, short=True) for place, _ in ticks]
    assert sorted(ticks) == ticks


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3), st.integers(2, 12))
def test_even_ticks_lie_inside_the_axis_at_equal_distances(low, width, most):
    ticks = even_ticks(low, low + width, most)
    assert len(ticks) <= most
    assert all(low - 1e-6 * width <= tick <= low + width * (1 + 1e-6) for tick in ticks)
    steps = [b - a for a, b in pairwise(ticks)]
    assert all(step == pytest.approx(steps[0], rel=1e-6) for step in steps)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), min_size=1, max_size=20))
def test_bytes_spent_are_the_running_sum(sent):
    lines = tuple({"round": r, "bytes_up": u, "bytes_down": d} for r, (u, d) in enumerate(sent, 1))
    run = Run(Path("run"), {}, lines, True)
    assert list(run.spent("up").values()) == np.cumsum([u for u, _ in sent]).tolist()
    assert list(run.spent("down").values()) == np.cumsum([d for _, d in sent]).tolist()


@given(accuracies=st.lists(st.integers(0, 1000), min_size=1, max_size=6))
def test_a_row_holds_the_mean_and_spread_of_its_seeds(tmp_path_factory, accuracies):
    folder = tmp_path_factory.mktemp("sweep")
    for seed, accuracy in enumerate(accuracies):
        run = folder / f"seed-{seed}"
        run.mkdir()
        (run / "config.toml").write_text(f'name = "x"\nseed = {seed}\nrounds = 1\n')
        line = {
            "round": 1,
            "seconds": 1,
            "bytes_up": 1,
            "bytes_down": 1,
            "evaluation": {"accuracy": accuracy / 1000},
        }
        (run / "metrics.jsonl").write_text(json.dumps(line) + "\n")
        (run / "model.safetensors").touch()
    (row,) = summarise([folder])
    shares = np.array(accuracies) / 1000
    assert row.accuracy == pytest.approx(shares.mean())
    assert row.seeds == tuple(range(len(accuracies)))
    if len(accuracies) > 1:
        assert row.accuracy_deviation == pytest.approx(shares.std(ddof=1), abs=1e-12)
    else:
        assert row.accuracy_deviation is None
