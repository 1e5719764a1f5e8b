"""A round ends, whoever does not answer: by its deadline, by enough replies, or by asking again."""

from collections.abc import Iterator

import pytest
from flwr.app import Error, Message

from hedgerow.client.app import client_app
from hedgerow.recipe.announcement import RECORD, UNKNOWN, Announcement
from hedgerow.server.app import train
from hedgerow.server.described import DescribedGrid
from hedgerow.server.replies import NO_REPLY, TOO_LATE
from hedgerow.simulation.clients import FIRST_NODE_ID
from hedgerow.simulation.flower import task_identity
from hedgerow.simulation.grid import InProcessGrid
from hedgerow.strategies import error_feedback, fedavg, secure_fedavg, top_k, uniform
from tests.faults.slow_grid import SlowGrid
from tests.support import MeanTrainer, clients

DATA = clients(5)
FEEDBACK = error_feedback(top_k(0.5))
DEADLINE = 0.5


@pytest.fixture(autouse=True)
def identity() -> Iterator[None]:
    with task_identity(1):
        yield


def run(strategy, late=None, rounds=3, app=None, wrap=lambda grid: grid, **options):
    """The results of a run on a grid, and the grid."""
    app = app or client_app(MeanTrainer(), DATA, strategy, guard=None)
    names = DATA.names
    inner = InProcessGrid(app, len(names), names=names)
    with inner.running():
        slow = SlowGrid(inner, names, late)
        trainer = MeanTrainer()
        given = {"min_clients": len(names), **options}
        results = list(
            train(wrap(slow), strategy, trainer.initial(0), trainer.layout, num_rounds=rounds, **given)
        )
    return results, slow


def model(results):
    return results[-1].state.model.parameters.tobytes()


def test_who_is_late_is_dropped_by_name_and_what_it_sends_later_counts_nowhere():
    strategy, name = fedavg(pipeline=FEEDBACK), DATA.names[1]
    late, _ = run(strategy, {name: 1}, rounds=1, timeout=DEADLINE)
    assert late[0].dropped == {name: NO_REPLY}
    others = {n: DATA.samples(n) for n in DATA.names if n != name}
    assert (late[0].failed, len(late[0].bytes_up)) == ("", len(others))
    on_time, _ = run(strategy, rounds=1)
    more, _ = run(strategy, {name: 1}, rounds=2, timeout=DEADLINE)
    assert more[0].state.model.parameters.tobytes() == late[0].state.model.parameters.tobytes()
    assert model(late) != model(on_time)
    assert more[1].dropped == {}


def test_a_round_that_is_asked_for_again_gives_what_it_would_have_given():
    strategy = fedavg(pipeline=FEEDBACK, quorum=1.0)
    on_time, _ = run(strategy)
    again, _ = run(strategy, {DATA.names[0]: 1, DATA.names[3]: 1}, timeout=DEADLINE, retry=1)
    assert model(again) == model(on_time)
    assert [result.failed for result in again] == ["", "", ""]
    first, usual = sum(again[0].bytes_down.values()), sum(on_time[0].bytes_down.values())
    assert first == 2 * usual, "what was sent twice is counted twice"
    given_up, _ = run(strategy, {DATA.names[0]: 2}, rounds=1, timeout=DEADLINE, retry=1)
    assert given_up[0].failed == "4 of 5 clients count; 5 are needed"


def test_of_more_clients_than_are_needed_the_first_ones_count():
    strategy = fedavg(pipeline=FEEDBACK, sampling=uniform(2), quorum=1.0)
    usual, _ = run(strategy, rounds=1)
    slow = usual[0].cohort[0]
    results, _ = run(strategy, {slow: 1}, rounds=1, over_select=0.5, timeout=60.0)
    (result,) = results
    assert len(result.cohort) == 3
    assert set(usual[0].cohort) < set(result.cohort)
    assert (result.dropped, result.failed) == ({slow: TOO_LATE}, "")


@pytest.mark.parametrize("options", [{"over_select": 0.5}, {"retry": 1}])
def test_under_a_mask_nobody_is_asked_twice_or_beside_the_cohort(options):
    strategy = secure_fedavg(sampling=uniform(5), min_clients=5)
    with pytest.raises(ValueError, match=r"it must be 0, since updates are masked"):
        run(strategy, **options)


def test_a_node_under_the_name_of_another_takes_no_part(caplog):
    names = DATA.names
    joined = {FIRST_NODE_ID + place: name for place, name in enumerate(names)}
    joined[FIRST_NODE_ID + 2] = "intruder"
    results, _ = run(fedavg(), rounds=1, min_clients=4, joined=lambda: joined)
    assert results[0].cohort == tuple(name for name in names if name != names[2])
    assert "has joined as 'intruder'" in caplog.text


DESCRIPTION = Announcement.of({"strategy": {"preset": "fedavg"}}, run="00" * 16, version="0.1.0")


class Forgetful:
    """A client app that knows a description only after a query, and forgets it once."""

    def __init__(self, app, forgets):
        self._app, self._forgets, self._known, self.told = app, forgets, set(), []

    def __call__(self, message, context):
        name, record = DATA.names[context.node_config["partition-id"]], message.content[RECORD]
        assert (record["digest"], record["run"]) == (DESCRIPTION.digest, DESCRIPTION.run)
        if "json" in record:
            self._known.add(name)
            self.told.append((name, record["json"]))
        elif name in self._forgets:
            self._forgets.discard(name)
            self._known.discard(name)
        if name not in self._known:
            return Message(Error(0, f"{UNKNOWN}: {record['digest']}"), reply_to=message)
        return self._app(message, context)


def test_a_device_is_told_the_run_once_and_again_where_it_has_forgotten_it():
    strategy = fedavg(pipeline=FEEDBACK)
    plain, _ = run(strategy)
    name = DATA.names[2]
    app = Forgetful(client_app(MeanTrainer(), DATA, strategy, guard=None), {name})
    results, slow = run(strategy, app=app, wrap=lambda grid: DescribedGrid(grid, DESCRIPTION))
    assert model(results) == model(plain)
    assert sorted(told for told, _ in app.told) == sorted([*DATA.names, name])
    assert {json for _, json in app.told} == {DESCRIPTION.description}
    assert [r.bytes_down for r in results] == [r.bytes_down for r in plain]
    whole = [to for to, kind, content in slow.sent if kind == "train" and "json" in content[RECORD]]
    assert whole == [name]
