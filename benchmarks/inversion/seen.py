"""What an honest but curious server sees of one client, taken from real rounds on the in-process grid."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from flwr.app import Context, Message, RecordDict
from torch import nn

from hedgerow import records
from hedgerow.client.app import client_app
from hedgerow.client.secure.enrolment import SimulatedEnrolments
from hedgerow.client.task import Task
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.models import build
from hedgerow.privacy.ledger import Ledger
from hedgerow.ring.vector import RingSum, read_vector
from hedgerow.rng import generator
from hedgerow.server.rounds import begin, rounds
from hedgerow.simulation.grid import InProcessGrid
from hedgerow.strategies.pipeline.coding import decode
from hedgerow.strategies.strategy import Strategy
from hedgerow.strategies.transforms.mask import shape_of
from hedgerow.types import (
    Client,
    CohortSum,
    Deployment,
    Layout,
    LocalTraining,
    Model,
    Payload,
    RoundContext,
    RoundResult,
    Samples,
    Vector,
)
from hedgerow.wire.messages import unpack_vector
from hedgerow.wire.replies import unpack_reply

ONE_STEP = LocalTraining(learning_rate=0.1, epochs=1, batch_size=0)


@final
class Wiretap:
    """A client app whose replies somebody reads on the way to the server."""

    def __init__(self, app: Any, hear: Callable[[str, str, RecordDict], None]) -> None:
        self._app, self._hear = app, hear

    def __call__(self, message: Message, context: Context) -> Message:
        """Answer, and let the reply be read."""
        reply: Message = self._app(message, context)
        if not reply.has_error():
            self._hear(str(context.node_config["client-name"]), message.metadata.message_type, reply.content)
        return reply


@dataclass(frozen=True)
class Cohort:
    """Clients with their own pictures; one may be the attacker's target."""

    by_name: dict[str, Samples]

    @classmethod
    def of(cls, samples: Samples, clients: int, each: int) -> "Cohort":
        """Deal the samples in their order, `each` to every client."""
        places = [np.arange(i * each, (i + 1) * each) for i in range(clients)]
        return cls({f"client-{i:04d}": samples.take(place) for i, place in enumerate(places)})

    @property
    def names(self) -> tuple[str, ...]:
        """Of the clients."""
        return tuple(self.by_name)

    def samples(self, name: str) -> Samples:
        """Of one client."""
        return self.by_name[name]

    def all(self) -> Samples:
        """Of all clients together."""
        several = list(self.by_name.values())
        return Samples(np.concatenate([s.x for s in several]), np.concatenate([s.y for s in several]))


@dataclass(frozen=True)
class Victim:
    """A shipped model, and what trains it on every client."""

    name: str = "cnn-fedavg"
    shape: tuple[int, int, int] = (1, 28, 28)
    classes: int = 10

    def trainer(self) -> TorchTrainer:
        """A new one."""
        return TorchTrainer(Task(build(self.name, input_shape=self.shape, num_classes=self.classes)))

    def module(self, model: Model) -> nn.Module:
        """The model as torch has it."""
        module: nn.Module = build(self.name, input_shape=self.shape, num_classes=self.classes)()
        nn.utils.vector_to_parameters(torch.from_numpy(model.parameters.copy()), module.parameters())
        return module


def run(
    victim: Victim,
    cohort: Cohort,
    strategy: Strategy,
    hear: Callable[[str, str, RecordDict], None],
    *,
    seed: int,
    num_rounds: int = 1,
    masks: bool = True,
    each: Callable[[RoundResult], None] = lambda result: None,
) -> tuple[Model, Ledger | None]:
    """Train for some rounds; the model before the first, and the ledger of a private strategy.

    Args:
        hear: is told `(client, message type, reply)` of every reply.
        masks: whether a pipeline with a mask masks.
        each: is told the result of every round.

    Raises:
        AssertionError: a round failed, or dropped a client.
    """
    trainer = victim.trainer()
    deployment = Deployment.MASKED if masks else Deployment.SIMULATED
    app = client_app(
        trainer, cohort, strategy, enrolment=SimulatedEnrolments(bytes(32)).enrolment, deployment=deployment
    )
    ledger = Ledger(strategy.budget) if strategy.budget else None
    first = trainer.initial(seed)
    with InProcessGrid(
        Wiretap(app, hear), len(cohort.names), names=cohort.names,
        node_config=lambda i: {"client-name": cohort.names[i]},
    ) as grid:  # fmt: skip
        for result in rounds(
            grid, strategy, begin(strategy, first, trainer.layout), trainer.layout, num_rounds=num_rounds,
            seed=seed, ledger=ledger, deployment=deployment,
        ):  # fmt: skip
            assert not result.failed, result.failed
            assert not result.dropped, result.dropped
            each(result)
    return first, ledger


def sent_update(
    content: RecordDict, strategy: Strategy, layout: Layout, *, seed: int, round: int, client: str
) -> Vector:
    """A client's update, decoded from its reply as the server decodes it."""
    reply = unpack_reply(
        records.from_flower(content), layout, round=round, client=client, max_weight=strategy.largest_weight
    )
    return decode(strategy.pipeline, reply.payload, RoundContext(seed, round, Client(client), layout))


def ring_update(content: RecordDict, strategy: Strategy, layout: Layout, clients: int, seed: int) -> Vector:
    """A client's ring vector, decoded as if it had no mask: of a masked one, the best that can be made."""
    shape = shape_of(strategy.pipeline, layout, clients)
    alone = RingSum(shape)
    alone.add(read_vector(unpack_vector(records.from_flower(content)), shape))
    numbers = shape.ring.signed(shape.ring.reduced(alone.values)).astype(np.float64)
    return decode(strategy.pipeline, Payload({"values": numbers}), RoundContext(seed, 1, CohortSum(), layout))


def ordered(samples: Samples, seed: int) -> Samples:
    """The same samples in a random order, which the seed decides."""
    return samples.take(generator(seed, "order pictures").permutation(len(samples)))
