"""A server that was killed in a masked round goes on with it as it was announced, and in no other way."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hedgerow.client.app import client_app
from hedgerow.client.secure.enrolment import SimulatedEnrolments
from hedgerow.datasets import HeldOut
from hedgerow.secure.codec import decode
from hedgerow.secure.messages import EVALUATE, TRAIN, Setup
from hedgerow.server.announced import FILE, RUN, Announced, run_id
from hedgerow.server.app import train
from hedgerow.server.broadcast import Broadcasts
from hedgerow.server.evaluation import EvaluationPlan
from hedgerow.server.kinds import measures_of
from hedgerow.server.rounds import begin
from hedgerow.simulation.flower import task_identity
from hedgerow.simulation.grid import InProcessGrid
from hedgerow.strategies import fedavg, parse_pipeline, uniform
from hedgerow.types import RunOptions
from tests.faults.slow_grid import SlowGrid
from tests.support import MeanTrainer, clients

DATA = HeldOut(clients(12), 0.4)
PIPELINE = parse_pipeline("chain(clip(5.0), quantize(8, range=1.0), mask(min_clients=8))")
STRATEGY = fedavg(pipeline=PIPELINE, sampling=uniform(8), weighted=False)


@pytest.fixture(autouse=True)
def identity() -> Iterator[None]:
    with task_identity(1):
        yield


class Killed(Exception):
    """The server dies."""


class Mortal(SlowGrid):
    """Dies once, before it sends the first message of a kind in a round."""

    def __init__(self, inner: InProcessGrid, kind: str, round: int) -> None:
        super().__init__(inner, DATA.names, None)
        self._dies: tuple[str, str] | None = (kind, str(round))

    def push_messages(self, messages):
        messages = list(messages)
        if messages and (messages[0].metadata.message_type, messages[0].metadata.group_id) == self._dies:
            self._dies = None
            raise Killed
        return super().push_messages(messages)

    def setups(self, purpose: str = TRAIN) -> list[Setup]:
        """What was announced to devices, in order."""
        announced = [content for _, kind, content in self.sent if kind == f"{purpose}.keys"]
        found = [decode(Setup, content["secure"]["message"]) for content in announced]
        return list(dict.fromkeys(found))


@pytest.fixture
def grid(request) -> Iterator[Mortal]:
    identities = SimulatedEnrolments(bytes(32))
    app = client_app(MeanTrainer(), DATA, STRATEGY, enrolment=identities.enrolment, guard=None)
    inner = InProcessGrid(app, len(DATA.names), names=DATA.names)
    with inner.running():
        yield Mortal(inner, *request.param)


def go(grid: Mortal, folder: Path, plan: EvaluationPlan | None = None):
    trainer = MeanTrainer()
    return list(
        train(
            grid, STRATEGY, trainer.initial(0), trainer.layout,
            num_rounds=3, folder=folder, min_clients=len(DATA.names), client_evaluation=plan,
        )
    )  # fmt: skip


@pytest.mark.parametrize("grid", [("train.keys", 2)], indirect=True)
def test_killed_after_it_was_written_down_and_before_it_was_sent_nothing_is_lost(grid, tmp_path):
    with pytest.raises(Killed):
        go(grid, tmp_path)
    written = json.loads((tmp_path / FILE).read_text())
    results = go(grid, tmp_path)
    assert [(r.round, r.failed) for r in results] == [(2, ""), (3, "")]
    assert tuple(written["cohort"]) == results[0].cohort
    assert {setup.run for setup in grid.setups()} == {run_id(tmp_path)}


@pytest.mark.parametrize("grid", [("train.shares", 2), ("train.unmask", 2)], indirect=True)
def test_killed_in_a_round_it_announces_the_same_one_and_devices_answer_it_once(grid, tmp_path):
    with pytest.raises(Killed):
        go(grid, tmp_path)
    results = go(grid, tmp_path)
    assert results[0].cohort == grid.setups()[1].members
    rounds = [setup.round for setup in grid.setups()]
    assert rounds == [1, 2, 3], "the second round was announced twice, in the very same words"
    assert [bool(r.failed) for r in results] == [True, False]
    assert "AlreadyAnswered" in next(iter(results[0].dropped.values()))


@pytest.mark.parametrize("grid", [("evaluate.shares", 2), ("evaluate.unmask", 2)], indirect=True)
def test_killed_in_an_evaluation_it_measures_no_other_model_under_the_name_of_that_round(grid, tmp_path):
    """Devices answer a stock server once, so that the round that is done again fails, and the model stays."""
    plan = EvaluationPlan()
    with pytest.raises(Killed):
        go(grid, tmp_path, plan)
    results = go(grid, tmp_path, plan)
    second, third = (result.client_evaluation for result in results)
    assert "round 2 was announced before with another model" in second.failed
    assert second.weighted_means == {}
    assert (third.failed, len(third.clients)) == ("", 12)
    assert [setup.round for setup in grid.setups(EVALUATE)] == [1, 2, 3]
    assert {setup.run for setup in grid.setups(EVALUATE)} == {f"{run_id(tmp_path)} evaluate"}
    assert {setup.run for setup in grid.setups()} == {run_id(tmp_path)}


@pytest.mark.parametrize("grid", [("evaluate.keys", 3)], indirect=True)
def test_an_evaluation_that_was_announced_is_made_with_those_whom_it_names_whoever_else_has_come(
    grid, tmp_path
):
    trainer, nodes = MeanTrainer(), dict(zip(DATA.names, grid.get_node_ids(), strict=True))
    state = replace(begin(STRATEGY, trainer.initial(0), trainer.layout), round=3)
    measures = [
        measures_of(
            EvaluationPlan(),
            STRATEGY,
            grid,
            trainer.layout,
            RunOptions(),
            Broadcasts(),
            seed=0,
            folder=tmp_path,
        )
        for _ in range(2)
    ]
    first = dict(list(nodes.items())[:10])
    with pytest.raises(Killed):
        measures[0](state, first)
    found = measures[1](state, nodes)
    assert (found.failed, found.clients) == ("", tuple(first))
    (setup,) = grid.setups(EVALUATE)
    assert setup.members == tuple(json.loads((tmp_path / f"evaluate-{FILE}").read_text())["cohort"])


def test_a_round_that_was_announced_otherwise_is_not_announced_again(tmp_path):
    announced = Announced.of(tmp_path)
    first = Setup(announced.run, 4, ("a", "b"), 1, 2, 2, 16, 5, 1, b"m" * 32)
    assert announced.announce(first) == ""
    assert Announced.of(tmp_path).announce(first) == ""
    assert Announced.of(tmp_path).cohort(4) == ("a", "b")
    assert Announced.of(tmp_path).cohort(5) is None
    for other in (
        Setup(announced.run, 4, ("a", "c"), 1, 2, 2, 16, 5, 1, b"m" * 32),
        Setup(announced.run, 4, ("a", "b"), 1, 2, 2, 16, 5, 1, b"n" * 32),
        Setup("another", 4, ("a", "b"), 1, 2, 2, 16, 5, 1, b"m" * 32),
    ):
        assert "announced before" in Announced.of(tmp_path).announce(other)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"round": 1}'])
def test_a_file_that_cannot_be_read_is_an_error(tmp_path, content):
    announced = Announced.of(tmp_path)
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(ValueError, match=r"announced\.json cannot be read"):
        announced.cohort(1)
    (tmp_path / RUN).write_bytes(content)
    with pytest.raises(ValueError, match="32 hex digits"):
        run_id(tmp_path)
