"""A client's round needs neither Flower nor torch, and gives the bytes that it gives on Flower."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Context, RecordDict

from hedgerow.client.answer import answer
from hedgerow.client.app import client_app
from hedgerow.client.client_round import ClientConfig
from hedgerow.client.flower import ContextNotes, ContextState
from hedgerow.client.state import FolderState, MemoryState
from hedgerow.records import from_flower, to_flower
from hedgerow.ring.vector import RingSum, read_vector
from hedgerow.secure.errors import NotMasked
from hedgerow.simulation import flower
from hedgerow.strategies.transforms.mask import shape_of
from hedgerow.types import Deployment, PayloadError
from hedgerow.wire import codec
from hedgerow.wire.messages import unpack_vector
from tests import bare_rounds

ROOT = Path(__file__).parents[2]
BARE = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("flwr", "torch"):
            raise ImportError(f"{name} is not installed")

sys.meta_path.insert(0, Refuse())
from tests import bare_rounds
bare_rounds.main()
"""


@pytest.fixture(scope="module")
def bare() -> dict[str, list[str]]:
    """What rounds gave in a process that cannot import Flower or torch."""
    done = subprocess.run([sys.executable, "-c", BARE], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    named = [*bare_rounds.PIPELINES, "loaded"]
    return {name: line.removeprefix(name).split() for name, line in zip(named, lines, strict=True)}


def on_flower(strategy, rounds, clients=0) -> list[bytes]:
    """What the same clients answer on Flower."""
    data = bare_rounds.Data()
    app = client_app(bare_rounds.NumpyTrainer(), data, strategy, deployment=Deployment.SIMULATED, guard=None)
    contexts = [Context(1, 1, {"client-name": name}, RecordDict(), {}) for name in data.names]
    found = []
    for round in range(1, rounds + 1):
        content = to_flower(codec.decode(bare_rounds.request(round, clients)))
        for context in contexts:
            with flower.task_identity(1):
                message = flower.instruction(1, "m", 1, content, message_type="train", group_id=str(round))
            found.append(codec.encode(from_flower(app(message, context).content)))
    return found


@pytest.mark.parametrize("name", ["plain", "with residuals"])
def test_a_round_without_flower_and_torch_gives_the_bytes_that_it_gives_on_flower(bare, name) -> None:
    expected = on_flower(bare_rounds.strategy(name), bare_rounds.ROUNDS)
    assert len(expected) == 15
    assert bare[name] == [reply.hex() for reply in expected]
    assert len(set(bare[name])) == 15


def test_so_does_the_sum_of_a_masked_round(bare) -> None:
    strategy = bare_rounds.strategy("masked")
    shape = shape_of(strategy.pipeline, bare_rounds.LAYOUT, 5)
    total = RingSum(shape)
    for reply in on_flower(strategy, 1, clients=5):
        total.add(read_vector(unpack_vector(codec.decode(reply)), shape))
    assert bare["masked"] == [(total.total().tobytes() + total.words.tobytes()).hex()]


def test_nothing_of_them_was_loaded(bare) -> None:
    assert bare["loaded"] == []


def config(name: str) -> ClientConfig:
    return ClientConfig(bare_rounds.strategy(name), bare_rounds.NumpyTrainer())


@pytest.mark.parametrize(
    "kind", ["", "train.", "trainkeys", "train.keys", "train.failed", "evaluate", "query.a"]
)
def test_a_message_that_the_strategy_does_not_have_is_refused(kind) -> None:
    (client, *_) = bare_rounds.local_clients()
    with pytest.raises(PayloadError, match="which fedavg does not have"):
        answer(config("plain"), client, kind, bare_rounds.request(1))


@pytest.mark.parametrize("kind", ["query", "train", "train.keys"])
def test_bytes_that_are_no_message_are_refused_before_anything_is_done(kind) -> None:
    (client, *_) = bare_rounds.local_clients()
    for data in (b"x", bare_rounds.request(1)[:-1], bare_rounds.request(1) + b"\x00"):
        with pytest.raises(PayloadError, match="cannot be read"):
            answer(config("masked"), client, kind, data)
    assert not client.store.notes
    assert not client.store.rounds.load(100)


def test_a_client_whose_pipeline_masks_sends_nothing_in_the_clear() -> None:
    (client, *_) = bare_rounds.local_clients()
    with pytest.raises(NotMasked):
        answer(config("masked"), client, "train", bare_rounds.request(1, 5))


def test_every_store_keeps_the_last_two_rounds(tmp_path) -> None:
    context = Context(1, 1, {}, RecordDict(), {})
    for store in (MemoryState(), ContextState(context), FolderState(tmp_path, "a")):
        for round in (1, 2, 4, 4, 3):  # the last is run again, from a checkpoint
            store.save(round, {"pipeline": {"residual": np.full(2, round, np.float32)}})
        assert store.load(3)["pipeline"]["residual"].tolist() == [2, 2]
        assert store.load(4)["pipeline"]["residual"].tolist() == [3, 3]
        assert store.load(2) == {}
    notes = ContextNotes(context)
    notes["a"] = {"state": b"x", "done": False, "round": 3}
    assert (dict(notes["a"]), "b" in notes, list(notes)) == (
        {"state": b"x", "done": False, "round": 3},
        False,
        ["a"],
    )
    assert notes.pop("a")["round"] == 3
    assert not notes
