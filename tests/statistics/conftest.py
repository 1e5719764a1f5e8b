"""What every audit's test has."""

from collections import Counter
from functools import cache

import pytest

from hedgerow.privacy import ledger as ledger_module
from hedgerow.privacy.events import Event


@pytest.fixture(scope="module")
def each_epsilon_is_computed_once():
    """Most of an audit's time goes into the ledger's epsilon after each round; here most are the same."""
    sound = ledger_module.epsilon

    @cache
    def known(counts: frozenset[tuple[Event, int]], delta: float, adjacency: str) -> float:
        return sound([event for event, times in counts for _ in range(times)], delta, adjacency)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            ledger_module, "epsilon", lambda events, *given: known(frozenset(Counter(events).items()), *given)
        )
        yield
