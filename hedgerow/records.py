"""The only translation to and from Flower's records.

| message | content |
|---|---|
| `query` reply | config `hedgerow`: client |
| `train` | arrays `model`; config `hedgerow`: round, seed, layout, constants, clients, uncounted(-since) |
| `train` reply | arrays `payload`, and a record for each stream; config `hedgerow`: round, client; metrics |
| `train.STAGE`, and its reply | config `secure`: message; with `train` where a client is to train |
| reply with a ring vector | arrays `vector`; config `secure`: message |

`model` holds the array `parameters`, `buffers` and `constants` where the model has some, and the
server's value of each stream that is not empty. Where the config names `constants` by their hash, `model`
holds them only for a client that has said that it lacks them. A reply has an array record for `buffers`
and for each stream, and never constants. `uncounted` names clients of the cohort whose last answers did
not count, where a stream has to know; under a mask, `clients` is the size of the cohort. The metrics,
`hedgerow.metrics`, are the weight, num-examples, and one `metric.NAME` for each metric.

The message to every client of a round is the same, so it is packed and
measured once. What arrives is not trusted: whatever does not have exactly the
form above raises `PayloadError`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from numpy.typing import NDArray

from hedgerow import record_sizes
from hedgerow.array_records import filled, pack_arrays, unpack_arrays
from hedgerow.types import Arrays, Layout, Model, Payload, PayloadError, Vector
from hedgerow.types.payload import MOST_EXAMPLES

_KEY, _SECURE = "hedgerow", "secure"
_METRIC = "metric."
_ALLOWED_METRICS = 64
_NONE: NDArray[np.float32] = np.empty(0, np.float32)


@dataclass(frozen=True)
class TrainRequest:
    """What the server asks of a client in one round.

    Attributes:
        model: to be trained.
        round: number of the round.
        seed: of the run.
        streams: the server's value of each stream that is no part of the model.
        uncounted: `{client: round}`, as in `ServerState`.
        clients: size of a cohort under a mask.
        constants: hash of the model's constants, by which a client keeps them; `model` may be
            without them then. Empty where they are not to be kept.
    """

    model: Model
    round: int
    seed: int
    streams: Mapping[str, Vector]
    uncounted: Mapping[str, int]
    clients: int = 0
    constants: str = ""


@dataclass(frozen=True)
class Reply:
    """What a client answered in one round; `streams` has those that are not empty."""

    payload: Payload
    streams: Mapping[str, Vector]
    num_examples: int
    metrics: Mapping[str, float]


def pack_identity(client: str) -> RecordDict:
    """A client's answer to "who are you?"."""
    return RecordDict({_KEY: ConfigRecord({"client": client})})


def unpack_identity(content: RecordDict) -> str:
    """Its stable name; raises `PayloadError`."""
    return _text(_config(content), "client")


def pack_train(
    model: Model,
    layout: Layout,
    *,
    round: int,
    seed: int,
    streams: Mapping[str, Vector] | None = None,
    uncounted: Mapping[str, int] | None = None,
    clients: int = 0,
    constants: str = "",
) -> RecordDict:
    """The request of a round, the same for every client.

    Args:
        streams: the server's value of each stream that is no part of the model.
        uncounted: of clients of this cohort, as in `ServerState`.
        clients: size of a cohort under a mask.
        constants: hash of the model's, which are named by it and left out; empty packs them.
    """
    arrays = {"parameters": model.parameters}
    if layout.buffer_size:
        arrays["buffers"] = model.buffers
    if layout.constant_size and not constants:
        arrays["constants"] = model.constants
    arrays |= {name: values for name, values in (streams or {}).items() if values.size}
    config = ConfigRecord({"round": round, "seed": seed, "layout": layout.fingerprint})
    if uncounted:
        config["uncounted"], config["uncounted-since"] = list(uncounted), list(uncounted.values())
    if clients:
        config["clients"] = clients
    if constants:
        config["constants"] = constants
    return RecordDict({"model": pack_arrays(arrays), _KEY: config})


def unpack_train(
    content: RecordDict, layout: Layout, streams: Mapping[str, int] | None = None
) -> TrainRequest:
    """Read a request.

    Args:
        streams: values of each stream of the client's strategy that is no part of the model.

    Raises:
        PayloadError: it is for another model or strategy than this client's.
    """
    config = _config(content)
    if (theirs := _text(config, "layout")) != layout.fingerprint:
        raise PayloadError(
            f"the server's model has layout {theirs}, this client's has {layout.fingerprint};"
            " both must be started from the same configuration"
        )
    arrays = _arrays(content, "model")
    parameters = _float_vector(arrays, "parameters", layout.dimension)
    buffers = _float_vector(arrays, "buffers", layout.buffer_size)
    named = _text(config, "constants") if "constants" in config else ""
    left_out = named and "constants" not in arrays
    constants = _float_vector(arrays, "constants", 0 if left_out else layout.constant_size)
    wanted = {name: size for name, size in (streams or {}).items() if size}
    sent = sorted(set(arrays) - {"parameters", "buffers", "constants"})
    if sent != sorted(wanted):
        raise PayloadError(
            f"the server's strategy sends the streams {sent}, this client's has {sorted(wanted)};"
            " both must be started from the same configuration"
        )
    values = {name: _float_vector(arrays, name, size) for name, size in wanted.items()}
    names, since = config.get("uncounted", []), config.get("uncounted-since", [])
    if not (isinstance(names, list) and isinstance(since, list) and len(names) == len(since)):
        raise PayloadError("uncounted and uncounted-since must be lists of one length")
    return TrainRequest(
        Model(parameters, buffers, constants),
        _whole(config, "round"),
        _whole(config, "seed"),
        values,
        dict(zip(names, since, strict=True)),
        _whole(config, "clients") if "clients" in config else 0,
        named,
    )


def pack_reply(reply: Reply, *, round: int, client: str) -> RecordDict:
    """A client's answer to a round."""
    metrics = {_METRIC + name: float(value) for name, value in reply.metrics.items()}
    content: dict[str, Any] = {
        "payload": pack_arrays(reply.payload.arrays),
        _KEY + ".metrics": filled(
            MetricRecord(),
            {"weight": float(reply.payload.weight), "num-examples": int(reply.num_examples), **metrics},
        ),
        _KEY: filled(ConfigRecord(), {"round": round, "client": client}),
    }
    for name, values in reply.streams.items():
        content[name] = pack_arrays({name: values})
    return filled(RecordDict(), content)


def measure_reply(reply: Reply, *, round: int, client: str) -> int:
    """The size of `pack_reply(...)`, without packing where it is known from an answer of the same form."""
    arrays = tuple([(name, a.dtype, a.shape) for name, a in reply.payload.arrays.items()])
    examples, letters = int(reply.num_examples), len(client if client.isascii() else client.encode())
    numbers = examples < 0, examples.bit_length(), round.bit_length()  # as in `record_sizes`
    streams = tuple([(name, len(values)) for name, values in reply.streams.items()])
    form = "reply", arrays, *reply.metrics, *numbers, streams, letters
    known = record_sizes.known(form)
    if known is None:
        known = record_sizes.measure(pack_reply(reply, round=round, client=client))
        record_sizes.remember(form, known)
    return known


def unpack_reply(
    content: RecordDict,
    layout: Layout,
    *,
    round: int,
    client: str,
    max_weight: float,
    streams: Mapping[str, int] | None = None,
) -> Reply:
    """Read a reply and check all of it but the payload's arrays, which the pipeline checks.

    Args:
        streams: values of each stream that is not empty; the model's buffers alone by default.

    Raises:
        PayloadError: with what was given and what is allowed.
    """
    if streams is None:
        streams = {"buffers": layout.buffer_size} if layout.buffer_size else {}
    wanted = {"payload", _KEY, _KEY + ".metrics", *streams}
    if set(content) != wanted:
        raise PayloadError(f"the reply has records {sorted(content)}; it must have {sorted(wanted)}")
    config = _config(content)
    if (theirs := _whole(config, "round")) != round:
        raise PayloadError(f"the reply is for round {theirs}; round {round} was asked")
    if (name := _text(config, "client")) != client:
        raise PayloadError(f"the reply is signed {name!r}; {client!r} was asked")
    metrics = dict(_record(content, _KEY + ".metrics", MetricRecord))
    weight, examples = metrics.pop("weight", None), metrics.pop("num-examples", None)
    if any(not name.startswith(_METRIC) for name in metrics):
        raise PayloadError(f"its metrics are {sorted(metrics)}; each must be called {_METRIC}NAME")
    payload = Payload(_arrays(content, "payload"), weight)
    sent = {name: _arrays(content, name).get(name, _NONE) for name in streams}
    named = {name.removeprefix(_METRIC): value for name, value in metrics.items()}
    return checked_reply(Reply(payload, sent, examples, named), max_weight=max_weight, streams=streams)


def checked_reply(reply: Reply, *, max_weight: float, streams: Mapping[str, int]) -> Reply:
    """The reply, with all of it checked but the payload's arrays.

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
        _check_vector(name, values, streams[name])
    _check_metrics(reply.metrics)
    return reply


def pack_stage(message: bytes, request: RecordDict | None = None) -> RecordDict:
    """A message of a secure aggregation; with the request to train where it asks for that."""
    return RecordDict({**(request or {}), _SECURE: ConfigRecord({"message": message})})


def unpack_stage(content: RecordDict) -> bytes:
    """Undo `pack_stage`, but for the request; raises `PayloadError`."""
    message = _record(content, _SECURE, ConfigRecord).get("message")
    if not isinstance(message, bytes):
        raise PayloadError(f"the message is {type(message).__name__}; it must be bytes")
    return message


def pack_vector(arrays: Arrays, message: bytes) -> RecordDict:
    """A client's ring vector, masked or (in a simulation) not."""
    return RecordDict({"vector": pack_arrays(arrays), _SECURE: ConfigRecord({"message": message})})


def unpack_vector(content: RecordDict) -> Arrays:
    """The arrays of a ring vector; raises `PayloadError`."""
    if set(content) != {"vector", _SECURE}:
        raise PayloadError(f"the reply has records {sorted(content)}; it must have ['secure', 'vector']")
    return _arrays(content, "vector")


def _arrays(content: RecordDict, key: str) -> Arrays:
    return unpack_arrays(_record(content, key, ArrayRecord), key)


def _float_vector(arrays: Arrays, name: str, size: int) -> NDArray[np.float32]:
    values = arrays.get(name, _NONE)
    _check_vector(name, values, size)
    return values


def _check_vector(name: str, values: NDArray[Any], size: int) -> None:
    if values.dtype != np.float32 or values.shape != (size,):
        raise PayloadError(f"{name!r} is {values.dtype} {values.shape}; it must be float32 ({size},)")


def _record(content: RecordDict, key: str, kind: type) -> Any:
    record = content.get(key)
    if not isinstance(record, kind):
        raise PayloadError(f"the {kind.__name__} {key!r} is missing; the records are {sorted(content)}")
    return record


def _config(content: RecordDict) -> Mapping[str, Any]:
    config: Mapping[str, Any] = _record(content, _KEY, ConfigRecord)
    return config


def _text(config: Mapping[str, Any], key: str) -> str:
    value = config.get(key)
    if not isinstance(value, str) or not 0 < len(value) <= 200:
        raise PayloadError(f"{key} is {value!r}; it must be a text of 1 to 200 characters")
    return value


def _whole(config: Mapping[str, Any], key: str) -> int:
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise PayloadError(f"{key} is {value!r}; it must be a whole number, 0 or above")
    return value


def _check_metrics(metrics: Mapping[str, Any]) -> None:
    if len(metrics) > _ALLOWED_METRICS:
        raise PayloadError(f"it has {len(metrics)} metrics; at most {_ALLOWED_METRICS} are allowed")
    for name, value in metrics.items():
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise PayloadError(f"its metric {name!r} is {value!r}; it must be one finite number")
