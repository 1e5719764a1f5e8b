"""A client's reply to a round."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hedgerow.types import Layout, Payload, PayloadError, Vector
from hedgerow.types.payload import MOST_EXAMPLES
from hedgerow.wire import fields, sizes
from hedgerow.wire.arrays import pack_arrays
from hedgerow.wire.content import ConfigRecord, Content, MetricRecord, Record
from hedgerow.wire.fields import MAIN, METRICS

_METRIC = "metric."
_ALLOWED_METRICS = 64
_LONGEST_NAME = 100
_LARGEST_METRIC = 1e30


@dataclass(frozen=True)
class Reply:
    """A client's answer in one round; `streams` has those that are not empty."""

    payload: Payload
    streams: Mapping[str, Vector]
    num_examples: int
    metrics: Mapping[str, float]


def pack_reply(reply: Reply, *, round: int, client: str) -> Content:
    """A client's answer to a round."""
    metrics = {_METRIC + name: float(value) for name, value in reply.metrics.items()}
    content: dict[str, Record] = {
        "payload": pack_arrays(reply.payload.arrays),
        METRICS: MetricRecord(
            {"weight": float(reply.payload.weight), "num-examples": int(reply.num_examples), **metrics}
        ),
        MAIN: ConfigRecord({"round": round, "client": client}),
    }
    for name, values in reply.streams.items():
        content[name] = pack_arrays({name: values})
    return content


def measure_reply(reply: Reply, *, round: int, client: str) -> int:
    """The size of `pack_reply(...)`, without packing if it is known from an answer of the same form."""
    arrays: tuple[Any, ...] = ()
    for name, values in reply.payload.arrays.items():
        arrays += name, values.dtype, values.shape
    examples, letters = int(reply.num_examples), len(client if client.isascii() else client.encode())
    numbers = examples < 0, examples.bit_length(), round.bit_length()  # as in `sizes`
    streams = tuple(zip(reply.streams, map(len, reply.streams.values()), strict=True))
    form = "reply", arrays, *reply.metrics, *numbers, streams, letters
    known = sizes.known(form)
    if known is None:
        known = sizes.measure(pack_reply(reply, round=round, client=client))
        sizes.remember(form, known)
    return known


def unpack_reply(
    content: Content,
    layout: Layout,
    *,
    round: int,
    client: str,
    max_weight: float,
    streams: Mapping[str, int] | None = None,
) -> Reply:
    """Read and check a reply, except for the payload's arrays, which the pipeline checks.

    Args:
        streams: number of values of each stream that is not empty; by default only the model's buffers.

    Raises:
        PayloadError: with what was given and what is allowed.
    """
    if streams is None:
        streams = {"buffers": layout.buffer_size} if layout.buffer_size else {}
    wanted = {"payload", MAIN, METRICS, *streams}
    if set(content) != wanted:
        raise PayloadError(f"the reply has records {sorted(content)}; it must have {sorted(wanted)}")
    config = fields.config(content)
    if (theirs := fields.whole(config, "round")) != round:
        raise PayloadError(f"the reply is for round {theirs}; round {round} was asked")
    if (name := fields.text(config, "client")) != client:
        raise PayloadError(f"the reply is signed {name!r}; {client!r} was asked")
    metrics: dict[str, Any] = dict(fields.record(content, METRICS, MetricRecord))
    weight, examples = metrics.pop("weight", None), metrics.pop("num-examples", None)
    if any(not name.startswith(_METRIC) for name in metrics):
        raise PayloadError(f"its metrics are {sorted(metrics)}; each must be called {_METRIC}NAME")
    payload = Payload(fields.arrays(content, "payload"), weight)
    sent = {name: fields.arrays(content, name).get(name, fields.NO_VALUES) for name in streams}
    named = {name.removeprefix(_METRIC): value for name, value in metrics.items()}
    return checked_reply(Reply(payload, sent, examples, named), max_weight=max_weight, streams=streams)


def checked_reply(reply: Reply, *, max_weight: float, streams: Mapping[str, int]) -> Reply:
    """Check a reply, except for the payload's arrays.

    Raises:
        PayloadError: with what was given and what is allowed.
    """
    weight, examples = reply.payload.weight, reply.num_examples
    if not isinstance(weight, float) or not 0 <= weight <= max_weight:
        raise PayloadError(f"its weight is {weight!r}; it must be a number from 0 to {max_weight:g}")
    if not isinstance(examples, int) or not 0 <= examples <= MOST_EXAMPLES:
        raise PayloadError(
            f"its number of examples is {examples!r}; it must be a whole number from 0 to {MOST_EXAMPLES:,}"
        )
    if weight == 0 or examples == 0:
        raise PayloadError("it trained on no examples")
    if reply.streams.keys() != streams.keys():
        raise PayloadError(f"it has the streams {sorted(reply.streams)}; it must have {sorted(streams)}")
    for name, values in reply.streams.items():
        fields.check_vector(name, values, streams[name])
    _check_metrics(reply.metrics)
    return reply


def _check_metrics(metrics: Mapping[str, Any]) -> None:
    if len(metrics) > _ALLOWED_METRICS:
        raise PayloadError(f"it has {len(metrics)} metrics; at most {_ALLOWED_METRICS} are allowed")
    for name, value in metrics.items():
        if len(name) > _LONGEST_NAME or not name.isprintable():
            raise PayloadError(
                f"its metric {name[:_LONGEST_NAME]!r} has a name of {len(name)} characters; at most"
                f" {_LONGEST_NAME} printable ones are allowed"
            )
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise PayloadError(f"its metric {name!r} is {value!r}; it must be one finite number")
        if abs(value) > _LARGEST_METRIC:
            raise PayloadError(f"its metric {name!r} is {value:g}; at most {_LARGEST_METRIC:g} counts")
