"""Shares, dropouts, slowdowns and nights are drawn as often as they are described, with power."""

import numpy as np
import pytest

from hedgerow.simulation.clock.availability import daily, is_there
from hedgerow.simulation.clock.clock import clock
from hedgerow.simulation.clock.work import Work
from hedgerow.types import LocalTraining

NAMES = [f"client-{number:04d}" for number in range(4000)]
WORK = Work(LocalTraining(), 1e6, lambda name: 10)


def accepts(share, count, wanted):
    """Whether a count of so many draws fits a share: within 4 standard errors, once in 16,000."""
    return abs(count / wanted - share) <= 4 * np.sqrt(share * (1 - share) / wanted)


def kinds(shares):
    made = clock(("pi-4", "pi-5"), ("wifi", "lte"), shares)
    return sum(made.kind_of(1, name).name == "pi-4, wifi" for name in NAMES)


def lost(dropout):
    made = clock(dropout=dropout)
    trips = (made.trip(1, WORK, name, round=3, start=0.0, down=1000, trains=True) for name in NAMES)
    return sum(trip.lost < trip.trained for trip in trips)


def skipped(skips):
    days = daily(12.0, hours=1.0, spread=1.0, skips=skips)
    periods = (days.period(2, name, at=10 * 86400.0) for name in NAMES)
    return sum(begin < 11 * 86400 for begin, _ in periods)


def slow(exponent):
    made = clock(slowdown=exponent)
    return sum(made.kind_of(1, name).device.gflops < 15.2 / 2 for name in NAMES)


@pytest.mark.parametrize(
    ("drawn", "value", "share", "others"),
    [
        (lambda v: kinds((v, 1 - v)), 0.3, 0.3, (0.2, 0.4)),
        (lost, 0.2, 0.2, (0.13, 0.3)),
        (slow, 1.5, 2**-1.5, (1.0, 2.25)),
        (slow, 1.0, 0.5, (0.7, 1.5)),
    ],
)
def test_what_is_drawn_fits_its_share_and_not_another(drawn, value, share, others):
    assert accepts(share, drawn(value), len(NAMES))
    for other in others:
        assert not accepts(share, drawn(other), len(NAMES))


def test_a_client_is_there_for_its_part_of_the_day():
    # Moments spread over 41 hours; in each, clients are there for their own hours.
    at_all_hours = [there_at(hour, 6.0) for hour in range(24)]
    assert accepts(6 / 24, sum(at_all_hours), 24 * 500)
    assert not accepts(6 / 24, sum(there_at(hour, 8.0) for hour in range(24)), 24 * 500)
    assert at_all_hours[0] > 400  # at midnight most are there, and at noon nobody
    assert at_all_hours[12] < 10


def there_at(hour, hours):
    days = daily(begins=21.0, hours=hours, spread=2.0)
    at = 5 * 86400 + hour * 3600.0
    return sum(is_there(days.period(1, name, at), at) for name in NAMES[:500])


def test_days_are_skipped_as_often_as_described():
    # From midnight on, the first period is that day's at noon, unless it is skipped.
    assert accepts(0.75, skipped(0.25), len(NAMES))
    assert not accepts(0.75, skipped(0.4), len(NAMES))


def test_a_lost_client_is_lost_at_any_moment_of_its_work_alike():
    made = clock(dropout=0.9)
    trips = [made.trip(1, WORK, name, round=1, start=5.0, down=1000, trains=True) for name in NAMES]
    parts = np.sort([(t.lost - t.start) / (t.trained - t.start) for t in trips if t.lost < t.trained])
    uniform = np.arange(1, len(parts) + 1) / len(parts)
    distance, bound = np.abs(parts - uniform).max(), 2.1 / np.sqrt(len(parts))  # Kolmogorov-Smirnov, 3e-4
    assert distance < bound
    assert np.abs(np.sqrt(parts) - uniform).max() > bound
