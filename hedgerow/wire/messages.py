"""Requests and their answers, as records; a reply to a round is in `wire.replies`.

| message | content |
|---|---|
| `query` reply | config `hedgerow`: client |
| `train` | arrays `model`, `downlink`; config `hedgerow`: round, seed, layout, ... |
| `train` reply | arrays `payload`, and a record for each stream; config `hedgerow`: round, client; metrics |
| `train.STAGE`, and its reply | config `secure`: message; with `train` if a client is to train |
| reply with a ring vector | arrays `vector`; config `secure`: message |

`model` holds the array `parameters`, `buffers` and `constants` if the model has some, and the server's
value of each stream that is not empty. If the config names `constants` by their hash, `model` holds them
only for a client that has said that it lacks them. A reply has an array record for `buffers` and for each
stream, and never constants. `uncounted` (and `uncounted-since`) names clients of the cohort whose last
answers did not count, if a stream needs that; with masks, `clients` is the size of the cohort. The metrics,
`hedgerow.metrics`, are the weight, num-examples, and one `metric.NAME` for each metric.

With a downlink, the config names `base` and `model`, SHA-256 of parameters: the record `downlink` has
payloads, `NUMBER.NAME`, which make the second of the first. `model` then holds the base, as `parameters`,
only for a client that lacks it.

A message is packed and measured once for all clients that get the same.
Incoming messages are not trusted: anything that does not have exactly the form
above raises `PayloadError`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from hedgerow.types import Arrays, Layout, Model, PayloadError, Vector
from hedgerow.wire import fields
from hedgerow.wire.arrays import pack_arrays
from hedgerow.wire.content import ArrayRecord, ConfigRecord, Content
from hedgerow.wire.fields import MAIN, SECURE
from hedgerow.wording import shown

DOWN = "downlink"
"""The record with the payloads of a coded model."""

_NUMBERED = re.compile(r"(0|[1-9]\d{0,8})\.(.+)", re.DOTALL)


@dataclass(frozen=True)
class Coded:
    """A model that is sent as payloads, which a client adds to what it has.

    Attributes:
        base: SHA-256 of the parameters to start from, 32 bytes.
        model: of the parameters that the payloads make of them.
        payloads: by the round that made the model which each leads to, in order; their arrays.
    """

    base: bytes
    model: bytes
    payloads: Mapping[int, Arrays]


@dataclass(frozen=True)
class TrainRequest:
    """The server's request to a client in one round.

    Attributes:
        model: to be trained.
        round: number of the round.
        seed: of the run.
        streams: the server's value of each stream that is not part of the model.
        uncounted: `{client: round}`, as in `ServerState`.
        clients: size of the cohort, with masks.
        constants: hash under which a client keeps the model's constants; `model` may then lack
            them. Empty if they are not to be kept.
        coded: how the parameters follow from a base; `model` has the base, or no parameters for a
            client that keeps it. `None` if `model` has the parameters.
    """

    model: Model
    round: int
    seed: int
    streams: Mapping[str, Vector]
    uncounted: Mapping[str, int]
    clients: int = 0
    constants: str = ""
    coded: Coded | None = None


def pack_identity(client: str) -> Content:
    """A client's answer to a query for its name."""
    return {MAIN: ConfigRecord({"client": client})}


def unpack_identity(content: Content) -> str:
    """The client's stable name; raises `PayloadError`."""
    return fields.text(fields.config(content), "client")


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
    coded: Coded | None = None,
) -> Content:
    """The request of a round.

    Args:
        streams: the server's value of each stream that is not part of the model.
        uncounted: of clients of this cohort, as in `ServerState`.
        clients: size of the cohort, with masks.
        constants: hash of the model's constants, sent instead of them; if empty, they are packed.
        coded: how the parameters follow from those of `model`, which may have none.
    """
    arrays = {"parameters": model.parameters} if coded is None or model.parameters.size else {}
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
    content: Content = {"model": pack_arrays(arrays), MAIN: config}
    if coded is None:
        return content
    config["base"], config["model"] = coded.base, coded.model
    sent = {f"{number}.{name}": a for number, arrays in coded.payloads.items() for name, a in arrays.items()}
    return {**content, DOWN: pack_arrays(sent)} if sent else content


def named_only(content: Content) -> Content:
    """A request with the hashes of the model's constants and parameters in place of them, if it has those.

    Whatever a client has to be sent of a model, this is the same.
    """
    model, config = content.get("model"), content.get(MAIN)
    if not isinstance(model, ArrayRecord) or not isinstance(config, ConfigRecord):
        return content
    left_out = {"constants"} & config.keys() | ({"parameters"} if "base" in config else set())
    if not left_out:
        return content
    others = ArrayRecord({name: array for name, array in model.items() if name not in left_out})
    named = ConfigRecord({key: value for key, value in config.items() if key != "base"})
    return {**{name: each for name, each in content.items() if name != DOWN}, "model": others, MAIN: named}


def unpack_train(content: Content, layout: Layout, streams: Mapping[str, int] | None = None) -> TrainRequest:
    """Read a request.

    Args:
        streams: number of values of each stream of the client's strategy that is not part of the model.

    Raises:
        PayloadError: it is for another model or strategy than this client's.
    """
    config = fields.config(content)
    if (theirs := fields.text(config, "layout")) != layout.fingerprint:
        raise PayloadError(
            f"the server's model has layout {theirs}, this client's has {layout.fingerprint};"
            " both must be started from the same configuration"
        )
    arrays, coded = fields.arrays(content, "model"), _coded(content)
    has_base = coded is not None and "parameters" not in arrays
    parameters = fields.float_vector(arrays, "parameters", 0 if has_base else layout.dimension)
    buffers = fields.float_vector(arrays, "buffers", layout.buffer_size)
    named = fields.text(config, "constants") if "constants" in config else ""
    left_out = named and "constants" not in arrays
    constants = fields.float_vector(arrays, "constants", 0 if left_out else layout.constant_size)
    wanted = {name: size for name, size in (streams or {}).items() if size}
    sent = sorted(set(arrays) - {"parameters", "buffers", "constants"})
    if sent != sorted(wanted):
        raise PayloadError(
            f"the server's strategy sends the streams {sent}, this client's has {sorted(wanted)};"
            " both must be started from the same configuration"
        )
    values = {name: fields.float_vector(arrays, name, size) for name, size in wanted.items()}
    names, since = config.get("uncounted", []), config.get("uncounted-since", [])
    if not (_list_of(str, names) and _list_of(int, since) and len(names) == len(since)):
        raise PayloadError(
            "uncounted and uncounted-since must be lists of texts and whole numbers, equally long"
        )
    return TrainRequest(
        Model(parameters, buffers, constants),
        fields.whole(config, "round"),
        fields.whole(config, "seed"),
        values,
        dict(zip(names, since, strict=True)),
        fields.whole(config, "clients") if "clients" in config else 0,
        named,
        coded,
    )


def _coded(content: Content) -> Coded | None:
    """How the model is coded, if it is; raises `PayloadError`."""
    config = fields.config(content)
    if "base" not in config:
        return None
    base, model = fields.digest(config, "base"), fields.digest(config, "model")
    payloads: dict[int, dict[str, NDArray[Any]]] = {}
    for key, values in (fields.arrays(content, DOWN) if DOWN in content else {}).items():
        if not (found := _NUMBERED.fullmatch(key)):
            raise PayloadError(f"an array of {DOWN} is called {shown(key)}; it must be NUMBER.NAME")
        payloads.setdefault(int(found[1]), {})[found[2]] = values
    return Coded(base, model, dict(sorted(payloads.items())))


def pack_stage(message: bytes, request: Content | None = None) -> Content:
    """A message of a secure aggregation, with the request to train if there is one."""
    return {**(request or {}), SECURE: ConfigRecord({"message": message})}


def unpack_stage(content: Content) -> bytes:
    """Undo `pack_stage`, except for the request; raises `PayloadError`."""
    message = fields.record(content, SECURE, ConfigRecord).get("message")
    if not isinstance(message, bytes):
        raise PayloadError(f"the message is {type(message).__name__}; it must be bytes")
    return message


def pack_vector(arrays: Arrays, message: bytes) -> Content:
    """A client's ring vector, masked or (in a simulation) not."""
    return {"vector": pack_arrays(arrays), SECURE: ConfigRecord({"message": message})}


def unpack_vector(content: Content) -> Arrays:
    """The arrays of a ring vector; raises `PayloadError`."""
    if set(content) != {"vector", SECURE}:
        raise PayloadError(f"the reply has records {sorted(content)}; it must have ['secure', 'vector']")
    return fields.arrays(content, "vector")


def _list_of(kind: type, value: object) -> bool:
    return isinstance(value, list) and all(type(each) is kind for each in value)
