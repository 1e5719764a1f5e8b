"""A private round releases what is in the ledger, once, or says why nothing is; and its run ends in time."""

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hedgerow import rng
from hedgerow.privacy.accounting import Budget
from hedgerow.privacy.events import Gaussian
from hedgerow.privacy.ledger import Ledger, LedgerError
from hedgerow.server import private
from hedgerow.server.private import Bounded, PrivateRounds, Released
from hedgerow.server.round_kind import Cohort
from hedgerow.server.rounds import begin
from hedgerow.strategies import cyclic, dp_fedavg, fedavg, poisson, secure_dp_fedavg
from hedgerow.types import Layout, Model, Payload, ServerState
from tests.laws.transform_cases import context_for

D = 5
LAYOUT = Layout.flat(D)
TOTAL = np.arange(D, dtype=np.int64) * 2**30


def central(**more: Any):
    return dp_fedavg(0.5, 1.0, 1e-3, sampling=poisson(4, population=12), **more)


def by_clients(**more: Any):
    return secure_dp_fedavg(1.0, 2.0, 1e-3, corrupt=0.0, sampling=cyclic(12, population=24), **more)


@dataclass
class Replied:
    """What has come of a round."""

    counted: int = 3
    failed: str = ""
    dropped: dict[str, str] = field(default_factory=lambda: {"b": "no battery"})


class Inner:
    """A kind of round that always gives the same sum."""

    secure = "in a ring"

    def __init__(self, replies: Replied, cohort: Cohort, total: np.ndarray) -> None:
        self.replies, self.cohort, self.opened = replies, cohort, list[Any]()
        self.collector = SimpleNamespace(total=lambda: total)

    def announced(self, round: int) -> tuple[str, ...]:
        return (f"announced {round}",)

    def open(self, state: ServerState, cohort: Cohort) -> None:
        self.opened.append((state, cohort))

    def close(self) -> "Inner":
        return self

    def bytes_down(self) -> dict[str, int]:
        return {"a": 7}


def kind(strategy=None, *, seeded=True, replies=None, clients=40, total=TOTAL, ledger=None) -> PrivateRounds:
    inner = Inner(replies or Replied(), Cohort({"a": 1, "b": 2, "c": 3}, clients), total)
    return PrivateRounds(inner, strategy or central(), 6, ledger or Ledger(Budget(1e-3)), seeded)


def state_of(strategy, round: int = 4) -> ServerState:
    state = begin(strategy, Model(np.zeros(D, np.float32)), LAYOUT)
    return replace(state, round=round)


@pytest.mark.parametrize("more", [{}, {"clip_quantile": 0.5}])
@pytest.mark.parametrize("seeded", [True, False])
def test_a_release_has_the_noise_of_its_round_and_is_in_the_ledger(monkeypatch, seeded, more):
    strategy = central(**more)
    total = np.arange(D + strategy.release.extra, dtype=np.int64) * 2**30
    taken: list[int] = []
    monkeypatch.setattr(rng, "system_source", lambda n: (taken.append(n), rng.seeded_source(77, "x")(n))[1])
    rounds, state = kind(strategy, seeded=seeded, total=total), state_of(strategy)
    rounds.open(state, rounds.inner.cohort)
    assert rounds.inner.opened == [(state, rounds.inner.cohort)]
    closed = rounds.close()
    found = closed.aggregated(state)
    own = rng.seeded_source(6, "noise", round=5)
    if seeded:
        known = strategy.release(total, state.private, own)
        assert (found.delta.tolist(), found.private["releases"].tolist()) == (known.delta.tolist(), [1])
        assert found.private.keys() == state.private.keys()
    assert bool(taken) == (not seeded)
    ((number, digest), (event, times)), = rounds.ledger._entries.items()  # fmt: skip
    assert (number, event, times) == (5, private.event(strategy, state), 1)
    assert len(digest) == 32
    assert (found.cohort, found.lost, found.failed) == (("a", "b", "c"), frozenset({"b"}), "")
    assert (found.totals.counted, found.totals.clients) == (3, 40)
    assert rounds.epsilon == rounds.ledger.epsilon > 0
    told = closed.recorded(5, found)
    assert (told.round, told.cohort, told.clients, told.counted) == (5, ("a", "b", "c"), 40, 3)
    assert (told.dropped, told.failed, told.replies) == ({"b": "no battery"}, "", {})
    assert list(told.arrays) == ["released"]
    assert np.array_equal(told.arrays["released"], found.delta)
    assert (closed.bytes_down(), rounds.announced(9), rounds.secure) == (
        {"a": 7},
        ("announced 9",),
        "in a ring",
    )
    again = rounds.close().aggregated(replace(state, private=found.private, round=5))
    assert again.private["releases"].tolist() == [2]
    assert rounds.ledger.releases == 2
    assert rounds.shows_replies is False


@pytest.mark.parametrize("seeded", [True, False])
def test_the_ledger_says_where_the_noise_came_from(tmp_path, seeded):
    file = tmp_path / "privacy.jsonl"
    rounds = kind(seeded=seeded, ledger=Ledger(Budget(1e-3), file))
    rounds.close().aggregated(state_of(rounds.strategy))
    assert ('"noise": "seeded: a simulation"' in file.read_text()) == seeded
    assert ('"noise": "system"' in file.read_text()) == (not seeded)


@pytest.mark.parametrize(
    ("replies", "clients", "said"),
    [
        (Replied(0, "", {}), 0, "no client is connected"),
        (Replied(3, "too few shares"), 9, "too few shares"),
        (Replied(8, ""), 9, "8 clients count, and the noise of 9 makes a sum private"),
        (Replied(9, ""), 1, ""),
    ],
)
def test_a_round_that_failed_or_has_too_little_noise_releases_nothing(replies, clients, said):
    strategy = by_clients()
    assert strategy.release.noise.min_honest == 9
    rounds = kind(strategy, replies=replies, clients=clients)
    closed = rounds.close()
    found = closed.aggregated(state_of(strategy))
    assert found.failed == said
    assert (found.delta is None, rounds.ledger.releases) == ((True, 0) if said else (False, 1))
    assert dict(closed.recorded(5, found).arrays).keys() == (set() if said else {"released"})


def test_a_sum_that_might_overflow_and_a_ledger_that_cannot_be_written_release_nothing(monkeypatch):
    strategy = central()
    rounds, state = kind(strategy), state_of(strategy)
    monkeypatch.setattr("hedgerow.strategies.release.LARGEST_SIGMA", 1)
    found = rounds.close().aggregated(state)
    assert found.failed.endswith("noise multiplier; nothing is released")
    monkeypatch.undo()

    def full(*given: Any, **more: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(Ledger, "record", full)
    found = rounds.close().aggregated(state)
    assert found.failed == "the ledger cannot be written (no space left), so that nothing is released"
    assert (found.delta, found.private, rounds.ledger.releases) == (None, None, 0)


@pytest.mark.parametrize(
    ("make", "seeded", "fixed"),
    [(central, True, True), (central, False, False), (by_clients, True, True), (by_clients, False, True)],
)
def test_nobody_guesses_the_next_cohort_unless_it_is_public(monkeypatch, make, seeded, fixed):
    monkeypatch.setattr(rng, "secret_seed", lambda: 12345)
    assert kind(make(), seeded=seeded).sampling_seed == (6 if fixed else 12345)


def test_a_run_is_exhausted_when_one_more_round_would_pass_its_budget():
    strategy = central()
    event = private.event(strategy, state_of(strategy))
    spent = Ledger(Budget(1e-3)).record(1, event, "a", noise="system")
    for epsilon, said in (
        (spent, ""),
        (0.99 * spent, "one more round would pass the privacy budget, epsilon "),
    ):
        rounds = kind(strategy, ledger=Ledger(Budget(1e-3, epsilon)))
        assert rounds.exhausted(state_of(strategy)).startswith(said)
        assert bool(rounds.exhausted(state_of(strategy))) == bool(said)
    turns = by_clients()
    state = state_of(turns, round=7)
    assert private.event(turns, state) == turns.release.noise.event(turns.sampling, 8, D)
    assert private.clip_norm(strategy, state_of(strategy)) == 0.5


def test_a_bounded_contribution_is_decoded_and_clipped_and_the_sum_fits_any_cohort():
    strategy = central(clip_quantile=0.5)
    counting, context = Bounded(0.5), context_for(D)
    assert counting.size(strategy, LAYOUT) == D + 1
    assert Bounded(0.5).size(central(), LAYOUT) == D
    assert [counting.fitting(strategy, n) for n in (3, 12, 13)] == [12, 12, 13]
    payload = Payload({"values": np.full(D, 3, np.float32)})
    told = counting.values(strategy, LAYOUT, payload, lambda: context)
    assert told.tolist() == strategy.release.contribution(np.full(D, 3, np.float32), 0.5).tolist()
    assert counting.delta(strategy, np.arange(D + 1.0), context).tolist() == [0, 1, 2, 3, 4]
    assert counting.shows_metrics is False


def test_a_run_begins_only_with_a_ledger_that_has_all_its_releases_and_a_model_without_buffers():
    strategy, ledger = central(), Ledger(Budget(1e-3))
    for number in range(3):
        ledger.write(number, Gaussian(1.0), str(number), noise="system")
    state = state_of(strategy)
    for released, taken in ((2, True), (3, True), (4, False)):
        held = replace(state, private={**state.private, "releases": np.array([released])})
        if taken:
            private.check(strategy, LAYOUT, held, ledger)
        else:
            with pytest.raises(LedgerError, match="the ledger holds 3 releases, and 4 were made"):
                private.check(strategy, LAYOUT, held, ledger)
    with pytest.raises(
        ValueError, match="the model has 5 values that are not trained but averaged, in 'vector'"
    ):
        private.check(strategy, Layout((), LAYOUT.parameters), state, ledger)
    begun = private.begin_private(central(clip_quantile=0.5), D)
    assert {name: value.tolist() for name, value in begun.items()} == {"clip_norm": [0.5], "releases": [0]}
    assert private.begin_private(fedavg(), D) == {}


@pytest.mark.parametrize("bits", [16, 32])
def test_a_masked_run_begins_where_its_largest_cohort_has_a_ring(monkeypatch, bits):
    asked: list[Any] = []
    monkeypatch.setattr(private, "shape_of", lambda *given: asked.append(given))
    for strategy in (by_clients(bits=bits), central()):
        asked.clear()
        private.check(strategy, LAYOUT, state_of(strategy), Ledger(Budget(1e-3)))
        known = [(strategy.pipeline, LAYOUT, strategy.release.most_clients)]
        assert asked == (known if strategy.pipeline.sum_only else [])


def test_what_is_released_is_what_a_released_round_says():
    rounds = kind()
    assert isinstance(rounds.close(), Released)
    assert rounds.close().replies is rounds.inner.replies
