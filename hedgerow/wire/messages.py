"""Requests and their answers, as records; a reply to a round is in `wire.replies`.

| message | content |
|---|---|
| `query` reply | config `hedgerow`: client |
| `train` | arrays `model`; config `hedgerow`: round, seed, layout, constants, clients, uncounted(-since) |
| `train` reply | arrays `payload`, and a record for each stream; config `hedgerow`: round, client; metrics |
| `train.STAGE`, and its reply | config `secure`: message; with `train` if a client is to train |
| reply with a ring vector | arrays `vector`; config `secure`: message |

`model` holds the array `parameters`, `buffers` and `constants` if the model has some, and the server's
value of each stream that is not empty. If the config names `constants` by their hash, `model` holds them
only for a client that has said that it lacks them. A reply has an array record for `buffers` and for each
stream, and never constants. `uncounted` names clients of the cohort whose last answers did not count, if
a stream needs that; with masks, `clients` is the size of the cohort. The metrics, `hedgerow.metrics`, are
the weight, num-examples, and one `metric.NAME` for each metric.

All clients of a round get the same message, so it is packed and measured once.
Incoming messages are not trusted: anything that does not have exactly the form
above raises `PayloadError`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from hedgerow.types import Arrays, Layout, Model, PayloadError, Vector
from hedgerow.wire import fields
from hedgerow.wire.arrays import pack_arrays
from hedgerow.wire.content import ArrayRecord, ConfigRecord, Content
from hedgerow.wire.fields import MAIN, SECURE


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
    """

    model: Model
    round: int
    seed: int
    streams: Mapping[str, Vector]
    uncounted: Mapping[str, int]
    clients: int = 0
    constants: str = ""


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
) -> Content:
    """The request of a round, the same for every client.

    Args:
        streams: the server's value of each stream that is not part of the model.
        uncounted: of clients of this cohort, as in `ServerState`.
        clients: size of the cohort, with masks.
        constants: hash of the model's constants, sent instead of them; if empty, they are packed.
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
    return {"model": pack_arrays(arrays), MAIN: config}


def without_constants(content: Content) -> Content:
    """A request for clients that have the model's constants, which it names by their hash."""
    model, config = content.get("model"), content.get(MAIN)
    if (
        not isinstance(model, ArrayRecord)
        or not isinstance(config, ConfigRecord)
        or "constants" not in config
    ):
        return content
    others = ArrayRecord({name: array for name, array in model.items() if name != "constants"})
    return {**content, "model": others}


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
    arrays = fields.arrays(content, "model")
    parameters = fields.float_vector(arrays, "parameters", layout.dimension)
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
    )


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
