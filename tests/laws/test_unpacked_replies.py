"""What a collector makes of a reply does not depend on whether it was packed into a message."""

import numpy as np
import pytest
from flwr.app import Message, RecordDict

from hedgerow.server.collector import StartCollector
from hedgerow.server.private import StartBounded
from hedgerow.simulation import flower
from hedgerow.strategies import chain, clip, encode, poisson, quantize, random_k, top_k
from hedgerow.strategies.presets import dp_fedavg, fedavg
from hedgerow.types import Client, Layout, Payload, RoundContext, Tensor
from hedgerow.wire.replies import Reply
from tests.flower_messages import pack_reply

LAYOUT = Layout((Tensor("w", (40,)),), (Tensor("mean", (3,)),))
BARE = Layout.flat(40)
NONE = np.empty(0, np.float32)
PIPELINES = [
    None,
    quantize(8),
    top_k(0.1),
    random_k(0.2),
    chain(clip(0.5), quantize(4)),
]
STRATEGIES = [
    *(fedavg() if pipeline is None else fedavg(pipeline=pipeline) for pipeline in PIPELINES),
    fedavg(max_norm=100.0),
    dp_fedavg(sampling=poisson(5, population=50)),
]


def packed(reply: Reply, client: str) -> Message:
    asked = flower.instruction(1, "m", 7, RecordDict(), message_type="train", group_id="1")
    return flower.with_content(asked, pack_reply(reply, round=1, client=client))


def replies(strategy, layout):
    """Good ones, and some of which something is wrong."""
    random = np.random.default_rng(1)
    buffers = random.normal(size=layout.buffer_size).astype(np.float32)
    streams = {"buffers": buffers} if layout.buffer_size else {}
    for number in range(6):
        name = f"client-{number}"
        context = RoundContext(0, 1, Client(name), layout, 5 + number)
        delta = random.normal(size=40).astype(np.float32)
        payload, _ = encode(strategy.pipeline, delta, {}, context)
        yield name, Reply(payload, streams, 5 + number, {"loss": 0.5 * number})
    values = next(iter(payload.arrays))
    poisoned = {**payload.arrays, values: np.full_like(payload.arrays[values], np.nan, dtype=np.float32)}
    yield "not a number", Reply(Payload(poisoned, payload.weight), streams, 5, {})
    yield "too heavy", Reply(Payload(payload.arrays, 1e12), streams, 5, {})
    yield "no examples", Reply(payload, streams, 0, {})
    yield "metric", Reply(payload, streams, 5, {"loss": float("inf")})
    if layout.buffer_size:
        yield "buffers", Reply(payload, {"buffers": np.append(buffers, np.float32(np.nan))}, 5, {})


@pytest.mark.parametrize(
    ("strategy", "layout"),
    [(s, BARE) for s in STRATEGIES] + [(fedavg(), LAYOUT)],
    ids=lambda value: value.pipeline.name if hasattr(value, "pipeline") else str(len(value.buffers)),
)
def test_packed_or_not_the_same_is_counted_and_the_same_dropped(strategy, layout):
    start = (StartBounded if strategy.private else StartCollector)(strategy, layout, 0)
    bound = 0.5 if strategy.private else {}
    as_messages, as_they_are = (start(1, 11, bound) for _ in range(2))
    for name, reply in replies(strategy, layout):
        as_messages.add(name, packed(reply, name))
        as_they_are.add(name, reply)
    one, other = as_messages.collected, as_they_are.collected
    assert one.counted == other.counted == 6
    assert one.dropped == other.dropped
    assert len(one.dropped) == 4 + bool(layout.buffer_size)
    assert one.bytes_up == other.bytes_up
    assert one.means() == other.means()
    assert one.deltas.result().tobytes() == other.deltas.result().tobytes()
    if layout.buffer_size:
        found = [each.streams({})[0]["buffers"].tobytes() for each in (as_messages, as_they_are)]
        assert found[0] == found[1]
