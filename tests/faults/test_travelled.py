"""A round that a crash cut short is counted with what travelled in it, and no other round is."""

from pathlib import Path

import pytest

from hedgerow.client.app import client_app
from hedgerow.experiments.runs.store import line_of
from hedgerow.server.app import train
from hedgerow.server.evaluation import EvaluationPlan
from hedgerow.server.travelled import FILE, CountingGrid
from hedgerow.strategies import fedavg
from hedgerow.types import RunOptions
from tests.devices_grid import PlainGrid
from tests.support import MeanTrainer, clients

NAMES = ("a", "b", "c")
TRAINER, DATA, STRATEGY = MeanTrainer(), clients(3), fedavg()


class Killed(BaseException):
    pass


class Dying(PlainGrid):
    """Dies with the reply of a number, before anybody has seen it."""

    dies_at = -1

    def pull_messages(self, message_ids):
        for reply in super().pull_messages(message_ids):
            self.dies_at -= 1
            if not self.dies_at:
                raise Killed
            yield reply


def rounds(folder: Path, number: int, dies_at: int = -1) -> list[dict]:
    app = client_app(TRAINER, DATA, STRATEGY)
    lines = []
    with Dying(app, DATA.names) as inner:
        inner.dies_at = dies_at
        grid = CountingGrid(inner, folder)
        results = train(
            grid, STRATEGY, TRAINER.initial(0), TRAINER.layout, num_rounds=number, folder=folder,
            options=RunOptions(min_clients=3),
        )  # fmt: skip
        for result in grid.whole(results):
            lines.append(line_of(result))
    return lines


def test_what_travelled_before_a_kill_counts_in_the_round_that_is_done_again(tmp_path) -> None:
    whole = rounds(tmp_path / "undisturbed", 3)
    each_up = whole[1]["bytes_up"] // 3
    for dies_at in range(4, 10):  # the first three replies say who is who
        folder = tmp_path / str(dies_at)
        with pytest.raises(Killed):
            rounds(folder, 3, dies_at)
        killed_in, seen = (dies_at - 4) // 3, (dies_at - 4) % 3
        after = rounds(folder, 3)
        for line in after:
            undisturbed = whole[line["round"] - 1]
            again = line["round"] == killed_in + 1
            assert line["bytes_down"] == undisturbed["bytes_down"] * (2 if again else 1), dies_at
            assert line["bytes_up"] == undisturbed["bytes_up"] + (seen * each_up if again else 0), dies_at
            assert set(line["clients"]) == set(DATA.names)


def test_an_error_of_the_caller_reaches_whoever_saves_the_round(tmp_path) -> None:
    class Grid:
        pass

    thrown = []

    def results():
        try:
            yield from ()
            yield RESULT
        except ValueError as error:
            thrown.append(error)
            raise

    (tmp_path / FILE).write_bytes(b'["1", "train", "up", 1, 5]\n["1", "tr')
    grid = CountingGrid(Grid(), tmp_path)
    assert list(grid._before.values()) == [5], "a torn line counts as not there"
    RESULT = next(iter(_some_result(tmp_path / "run")))
    outer = grid.whole(results())
    next(outer)
    with pytest.raises(ValueError, match="not written"):
        outer.throw(ValueError("not written down"))
    assert thrown


def _some_result(folder: Path):
    app = client_app(TRAINER, DATA, STRATEGY)
    with PlainGrid(app, DATA.names) as grid:
        yield from train(
            grid, STRATEGY, TRAINER.initial(0), TRAINER.layout, num_rounds=1, folder=folder,
            client_evaluation=EvaluationPlan(1.0, 1), options=RunOptions(min_clients=3),
        )  # fmt: skip
