"""A round as it would be on this device: the run's step on the device's data; nothing is sent or kept."""

import re
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hedgerow.client.answer import respond
from hedgerow.client.client_round import ClientConfig, LocalClient
from hedgerow.client.state import StateStore
from hedgerow.node.responder import LocalRun
from hedgerow.rng import generator
from hedgerow.types import Layout, Model
from hedgerow.wire.codec import encode
from hedgerow.wire.messages import pack_train

_STEPS = 8
"""Steps that are measured; a round's are counted from them."""


@dataclass(frozen=True)
class Rehearsed:
    """A round of a run, as measured on this device.

    Attributes:
        step: seconds of one training step.
        steps: in a round.
        fixed: seconds of a round that are not steps.
        down, up: bytes of the request and of the answer; of a masked answer without the protocol's keys.
        megabytes: that this process had at most.
    """

    step: float
    steps: int
    fixed: float
    down: int
    up: int
    megabytes: float

    @property
    def seconds(self) -> float:
        """Of a round, without its messages."""
        return self.fixed + self.steps * self.step


def rehearsed(run: LocalRun, name: str) -> Rehearsed:
    """Train a few steps, as the run would, from a model of small numbers, on which its time does not depend.

    Args:
        run: whose trainer is made.
        name: of the device.

    Raises:
        DataDoNotFit, ValueError: the device cannot take part.
        MemoryError: the model does not fit.
    """
    samples, strategy, trainer, seed = (
        run.samples(),
        run.described.strategy,
        run.trainer,
        run.described.seed,
    )
    local, secure = strategy.local, strategy.pipeline.protection.secure
    layout = strategy.split(trainer.layout).shared
    clients = 0 if secure is None else secure.min_clients
    request = pack_train(
        _small(layout), layout, round=1, seed=seed, clients=clients,
        streams={stream.name: stream.first(layout) for stream in strategy.streams},
    )  # fmt: skip

    def answered(count: int) -> tuple[float, int]:
        """Seconds and bytes of an answer after one epoch on so many samples."""
        few = samples.take(np.arange(min(count, len(samples))))
        once = replace(strategy, local=replace(local, epochs=1))
        client = LocalClient(name, lambda: few, StateStore())
        config = ClientConfig(once, trainer, seeded_noise=True, unmasked=True, initial=run.start)
        began = time.perf_counter()
        found = encode(respond(config, client, "train", request))
        return time.perf_counter() - began, len(found)

    batch = local.batch_size or len(samples)
    answered(batch)  # what is made at first use
    one, size = answered(batch)
    many, _ = answered(_STEPS * batch)
    more = replace(local, epochs=1).steps(min(_STEPS * batch, len(samples))) - 1
    step = max(many - one, 0.0) / more if more > 0 else one
    return Rehearsed(
        step, local.steps(len(samples)), max(one - step, 0.0), len(encode(request)), size, _peak()
    )


def _small(layout: Layout) -> Model:
    drawn = generator(0, "selftest").normal(scale=0.01, size=layout.dimension).astype(np.float32)
    buffers = np.ones(layout.buffer_size, np.float32)
    return Model(drawn, buffers, np.zeros(layout.constant_size, np.float32))


def _peak() -> float:
    """Megabytes of memory that this process had at most; 0 where the kernel does not say."""
    status = Path("/proc/self/status")
    text = status.read_text(encoding="ascii") if status.exists() else ""
    found = re.search(r"VmHWM:\s+(\d+) kB", text)
    return int(found[1]) / 1000 if found else 0.0
