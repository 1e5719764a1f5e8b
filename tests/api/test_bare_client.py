"""A client's round needs neither Flower nor torch, and gives the bytes that it gives on Flower."""

import subprocess
import sys
from pathlib import Path

import pytest
from flwr.app import Context, RecordDict

from hedgerow.client.app import client_app
from hedgerow.records import from_flower, to_flower
from hedgerow.ring.vector import RingSum, read_vector
from hedgerow.simulation import flower
from hedgerow.strategies.transforms.mask import shape_of
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
    app = client_app(bare_rounds.NumpyTrainer(), data, strategy, unmasked=True, seeded_noise=True, guard=None)
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
