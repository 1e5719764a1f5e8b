"""Five rounds of four devices, one of which sends one kind of bad reply, and how far that moves the model."""

from dataclasses import dataclass
from unittest.mock import patch

import numpy as np
from torch import nn

import hedgerow as hr
from hedgerow.client.app import client_app
from hedgerow.client.trainers import Computing
from hedgerow.rng import generator
from hedgerow.server import exchange
from hedgerow.server.app import train
from hedgerow.simulation.grid import InProcessGrid
from hedgerow.strategies.pipeline.parse import parse_pipeline
from hedgerow.types import RoundResult, Samples
from tests.faults.bad_replies.kinds import Kind
from tests.faults.bad_replies.wire_grid import Reply, WireGrid
from tests.guests.blobs import CENTRES
from tests.guests.softmax import softmax

ROUNDS, DEADLINE = 5, 60.0
LOCAL = hr.LocalTraining(learning_rate=0.1, epochs=2, batch_size=16)


@dataclass(frozen=True)
class Heaps:
    """Devices whose points lie in three heaps."""

    names: tuple[str, ...] = tuple(f"heap-{number}" for number in range(4))

    def samples(self, name: str) -> Samples:
        draw = generator(0, "heaps", client=name)
        y = draw.choice(3, size=600 if name == "test" else 60)
        return Samples((CENTRES[y] + draw.normal(size=(len(y), 2))).astype(np.float32), y)


LIAR = "heap-3"
TRAINER = softmax(hr.Task(lambda: nn.Linear(2, 3)), Computing())
TEST = Heaps().samples("test")


@dataclass(frozen=True)
class Run:
    """What came of a run.

    Attributes:
        results: of its rounds.
        model: at the end.
        accuracy: of that, on points of nobody.
    """

    results: list[RoundResult]

    @property
    def model(self) -> np.ndarray:
        return self.results[-1].state.model.parameters

    @property
    def accuracy(self) -> float:
        return TRAINER.evaluate(self.results[-1].state.model, TEST)["accuracy"]


class Clock:
    """Time that passes only while the server waits, and then at once."""

    def __init__(self) -> None:
        self._now = 0.0

    def monotonic(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        self._now += max(seconds, 1.0)


def run(edit, pipeline: str, names: tuple[str, ...] = Heaps().names, **parts) -> Run:
    """With all of them, of which one edits its replies; or with some of them, who are honest."""
    strategy = hr.fedavg(pipeline=parse_pipeline(pipeline), local=LOCAL, **parts)
    data = Heaps(names)
    app = client_app(TRAINER, data, strategy, guard=None)
    inner = InProcessGrid(app, len(names), names=names)
    with inner.running(), patch.object(exchange, "time", Clock()):
        grid = WireGrid(inner, names, LIAR, edit)
        start = TRAINER.initial(0)
        return Run(list(train(grid, strategy, start, TRAINER.layout, num_rounds=ROUNDS, timeout=DEADLINE)))


def honest(reply: Reply) -> None:
    """Nothing is changed."""


def silent(reply: Reply) -> None:
    reply.copies = 0


def damage(found: Run, three: Run) -> float:
    """How far the model is from that of the honest three, as a share of the way that one has come."""
    way = np.linalg.norm(three.model - TRAINER.initial(0).parameters)
    return float(np.linalg.norm(found.model - three.model) / way)


def of_kind(kind: Kind, **parts) -> tuple[Run, Run]:
    """The run with the bad replies, and that of the honest three."""
    return run(kind.edit, kind.pipeline, **parts), run(honest, kind.pipeline, Heaps().names[:3], **parts)
