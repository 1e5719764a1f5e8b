"""The only translation to and from Flower's records, and the only measure of bytes.

| message | content |
|---|---|
| `query` reply | config `hedgerow`: client, num-examples |
| `train` | arrays `model`; config `hedgerow`: round, seed, layout, uncounted, uncounted-since, clients |
| `train` reply | arrays `payload`, `buffers`, `control`; config `hedgerow`: round, client; metrics (below) |
| `train.STAGE`, and its reply | config `secure`: message; with `train` where a client is to train |
| reply with a ring vector | arrays `vector`; config `secure`: message |

`model` holds the array `parameters`, and `buffers` where the model has some;
only then has a reply `buffers`. With control variates, `model` holds `control`
too, and a reply has `control`; `uncounted` names clients of the cohort whose
last ones did not count, where there are any; under a mask, `clients` is the
size of the cohort. The metrics, `hedgerow.metrics`,
are the weight, num-examples, and one `metric.NAME` for each metric.

The message to every client of a round is the same, so it is packed and
measured once. What arrives is not trusted: whatever does not have exactly the
form above raises `PayloadError`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from typing import Any, TypeVar

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from flwr.common.constant import SType
from flwr.common.serde import recorddict_to_proto
from numpy.typing import NDArray

from hedgerow.types import Arrays, Fit, Layout, Model, Payload, PayloadError

R = TypeVar("R", ArrayRecord, ConfigRecord, MetricRecord, RecordDict)

_KEY, _SECURE = "hedgerow", "secure"
_METRIC = "metric."
_ALLOWED_METRICS = 64
_REMEMBERED, _LONG = 64, 10_000
_sizes: dict[Any, int] = {}
_PLAIN = {
    np.dtype(f"{kind}{bits}"): f"{kind}{bits}"
    for kind in ("int", "uint", "float")
    for bits in (8, 16, 32, 64)
    if (kind, bits) != ("float", 8)
}


@dataclass(frozen=True)
class TrainRequest:
    """What the server asks of a client in one round; without control variates, `control` is empty."""

    model: Model
    round: int
    seed: int
    control: NDArray[np.float32]
    uncounted: Mapping[str, int]
    clients: int = 0


@dataclass(frozen=True)
class Reply:
    """What a client answered in one round."""

    payload: Payload
    buffers: NDArray[np.float32]
    num_examples: int
    metrics: Mapping[str, float]
    control: NDArray[np.float32]


def measure(content: RecordDict) -> int:
    """Bytes of a record as Flower serialises it.

    Its parts are serialised one by one, and add up. Of parts that differ only
    in numbers that always take the same room, the first alone is.
    """
    size = 0
    for key, record in content.items():
        form = key, type(record), tuple((name, *_form(value)) for name, value in record.items())
        known = _sizes.get(form)
        if known is None:
            known = int(recorddict_to_proto(RecordDict({key: record})).ByteSize())
            data = sum(len(value.data) for value in record.values() if isinstance(value, Array))
            if known - data < _LONG:  # what may come from outside is not remembered where it is long
                if len(_sizes) >= _REMEMBERED:
                    _sizes.clear()
                _sizes[form] = known
        size += known
    return size


def _form(value: Any) -> tuple[Any, ...]:
    """What decides how many bytes a value takes."""
    if isinstance(value, Array):
        return value.dtype, value.shape, value.stype, len(value.data)
    if isinstance(value, float):
        return (float,)
    if isinstance(value, str | bytes):
        return type(value), len(value.encode() if isinstance(value, str) else value)
    if isinstance(value, list):
        return list, *map(type, value[:1]), *value
    return type(value), value


def pack_identity(client: str, num_examples: int) -> RecordDict:
    """A client's answer to "who are you?"."""
    return RecordDict({_KEY: ConfigRecord({"client": client, "num-examples": num_examples})})


def unpack_identity(content: RecordDict) -> tuple[str, int]:
    """`(stable name, number of samples)`; raises `PayloadError`."""
    config = _config(content)
    return _text(config, "client"), _whole(config, "num-examples")


def pack_train(
    model: Model,
    layout: Layout,
    *,
    round: int,
    seed: int,
    control: NDArray[np.float32] | None = None,
    uncounted: Mapping[str, int] | None = None,
    clients: int = 0,
) -> RecordDict:
    """The request of a round, the same for every client.

    Args:
        control: the server's control variate, `(d,)`; `None` or empty for none.
        uncounted: of clients of this cohort, as in `ServerState`.
        clients: size of a cohort under a mask.
    """
    arrays = {"parameters": model.parameters}
    if layout.buffer_size:
        arrays["buffers"] = model.buffers
    if control is not None and control.size:
        arrays["control"] = control
    config = ConfigRecord({"round": round, "seed": seed, "layout": layout.fingerprint})
    if uncounted:
        config["uncounted"], config["uncounted-since"] = list(uncounted), list(uncounted.values())
    if clients:
        config["clients"] = clients
    return RecordDict({"model": _pack_arrays(arrays), _KEY: config})


def unpack_train(content: RecordDict, layout: Layout) -> TrainRequest:
    """Read a request; raises `PayloadError` where it is for another model than this client's."""
    config = _config(content)
    if (theirs := _text(config, "layout")) != layout.fingerprint:
        raise PayloadError(
            f"the server's model has layout {theirs}, this client's has {layout.fingerprint};"
            " both must be started from the same configuration"
        )
    arrays = _unpack_arrays(content, "model")
    parameters = _float_vector(arrays, "parameters", layout.dimension)
    buffers = _float_vector(arrays, "buffers", layout.buffer_size)
    control = _float_vector(arrays, "control", layout.dimension if "control" in arrays else 0)
    names, since = config.get("uncounted", []), config.get("uncounted-since", [])
    if not (isinstance(names, list) and isinstance(since, list) and len(names) == len(since)):
        raise PayloadError("uncounted and uncounted-since must be lists of one length")
    return TrainRequest(
        Model(parameters, buffers),
        _whole(config, "round"),
        _whole(config, "seed"),
        control,
        dict(zip(names, since, strict=True)),
        _whole(config, "clients") if "clients" in config else 0,
    )


def pack_reply(
    payload: Payload, fit: Fit, *, round: int, client: str, control: NDArray[np.float32] | None = None
) -> RecordDict:
    """A client's answer to a round; `control` is the change of its control variate, if it has one."""
    metrics = {_METRIC + name: float(value) for name, value in fit.metrics.items()}
    content: dict[str, Any] = {
        "payload": _pack_arrays(payload.arrays),
        _KEY + ".metrics": _filled(
            MetricRecord(),
            {"weight": float(payload.weight), "num-examples": int(fit.num_examples), **metrics},
        ),
        _KEY: _filled(ConfigRecord(), {"round": round, "client": client}),
    }
    if fit.buffers.size:
        content["buffers"] = _pack_arrays({"buffers": fit.buffers})
    if control is not None:
        content["control"] = _pack_arrays({"control": control})
    return _filled(RecordDict(), content)


def unpack_reply(
    content: RecordDict,
    layout: Layout,
    *,
    round: int,
    client: str,
    max_weight: float,
    control: bool = False,
) -> Reply:
    """Read a reply and check all of it but the payload's arrays, which the pipeline checks.

    Raises:
        PayloadError: with what was given and what is allowed.
    """
    wanted = {"payload", _KEY, _KEY + ".metrics"}
    wanted |= ({"buffers"} if layout.buffer_size else set()) | ({"control"} if control else set())
    if set(content) != wanted:
        raise PayloadError(f"the reply has records {sorted(content)}; it must have {sorted(wanted)}")
    config = _config(content)
    if (theirs := _whole(config, "round")) != round:
        raise PayloadError(f"the reply is for round {theirs}; round {round} was asked")
    if (name := _text(config, "client")) != client:
        raise PayloadError(f"the reply is signed {name!r}; {client!r} was asked")
    metrics = dict(_record(content, _KEY + ".metrics", MetricRecord))
    weight, examples = metrics.pop("weight", None), metrics.pop("num-examples", None)
    if not isinstance(weight, float) or not 0 <= weight <= max_weight:
        raise PayloadError(f"its weight is {weight!r}; it must be a number from 0 to {max_weight:g}")
    if not isinstance(examples, int) or not 0 <= examples <= max_weight:
        raise PayloadError(
            f"its number of examples is {examples!r}; it must be a whole number from 0 to {max_weight:g}"
        )
    if weight == 0 or examples == 0:
        raise PayloadError("it trained on no examples")
    payload = Payload(_unpack_arrays(content, "payload"), weight)
    buffers = np.empty(0, np.float32)
    if layout.buffer_size:
        buffers = _float_vector(_unpack_arrays(content, "buffers"), "buffers", layout.buffer_size)
    change = np.empty(0, np.float32)
    if control:
        change = _float_vector(_unpack_arrays(content, "control"), "control", layout.dimension)
    return Reply(payload, buffers, examples, _checked_metrics(metrics), change)


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
    return RecordDict({"vector": _pack_arrays(arrays), _SECURE: ConfigRecord({"message": message})})


def unpack_vector(content: RecordDict) -> Arrays:
    """The arrays of a ring vector; raises `PayloadError`."""
    if set(content) != {"vector", _SECURE}:
        raise PayloadError(f"the reply has records {sorted(content)}; it must have ['secure', 'vector']")
    return _unpack_arrays(content, "vector")


def pack_state(state: Arrays) -> ArrayRecord:
    """A client's state as a record, to be kept in Flower's context."""
    return _pack_arrays(state)


def unpack_state(record: ArrayRecord) -> Arrays:
    """The state that `pack_state` packed; the arrays are read-only."""
    return {name: _read(array) for name, array in record.items()}


@lru_cache(maxsize=64)
def _head(dtype: str, shape: tuple[int, ...]) -> bytes:
    """What numpy writes in front of the numbers of a plain array (the `.npy` format, version 1.0)."""
    head = BytesIO()
    np.lib.format.write_array_header_1_0(
        head, {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    )
    return head.getvalue()


def _pack_arrays(arrays: Arrays) -> ArrayRecord:
    packed = {name: _pack(np.ascontiguousarray(values)) for name, values in arrays.items()}
    return _filled(ArrayRecord(), packed)


def _filled(record: R, items: Mapping[str, Any]) -> R:
    """The record with items whose types are known to be right: to have each checked takes longer than to
    pack them."""
    record.__dict__["_data"].update(items)
    return record


def _pack(values: NDArray[Any]) -> Array:
    """The same as `Array(values)`, with one copy in place of four."""
    dtype = _PLAIN.get(values.dtype)
    if dtype is None:
        return Array(values)
    data = b"".join((_head(dtype, values.shape), values.reshape(-1).view(np.uint8).data))
    return Array(dtype=dtype, shape=values.shape, stype=SType.NUMPY, data=data)


def _unpack_arrays(content: RecordDict, key: str) -> Arrays:
    """Read-only arrays."""
    arrays = {}
    for name, array in _record(content, key, ArrayRecord).items():
        try:
            values = _read(array)
        except Exception as error:  # whatever numpy makes of bytes from outside
            raise PayloadError(f"array {name!r} of {key!r} cannot be read: {error}") from error
        if not isinstance(values, np.ndarray) or values.dtype.hasobject:
            raise PayloadError(f"array {name!r} of {key!r} holds no plain numbers")
        arrays[name] = values
    return arrays


def _read(array: Array) -> NDArray[Any]:
    """The same as `array.numpy()`, without a copy where the bytes are those that numpy writes."""
    if array.stype == SType.NUMPY and array.dtype in _PLAIN.values() and len(array.shape) == 1:
        head, dtype = _head(array.dtype, array.shape), np.dtype(array.dtype)
        if array.data.startswith(head) and len(array.data) == len(head) + array.shape[0] * dtype.itemsize:
            return np.frombuffer(array.data, dtype, offset=len(head))
    values: NDArray[Any] = array.numpy()
    values.flags.writeable = False
    return values


def _float_vector(arrays: Arrays, name: str, size: int) -> NDArray[np.float32]:
    values = arrays.get(name, np.empty(0, np.float32))
    if values.dtype != np.float32 or values.shape != (size,):
        raise PayloadError(f"{name!r} is {values.dtype} {values.shape}; it must be float32 ({size},)")
    return values


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


def _checked_metrics(metrics: Mapping[str, Any]) -> Mapping[str, float]:
    if len(metrics) > _ALLOWED_METRICS:
        raise PayloadError(f"it has {len(metrics)} metrics; at most {_ALLOWED_METRICS} are allowed")
    for name, value in metrics.items():
        if not name.startswith(_METRIC) or not isinstance(value, int | float) or not math.isfinite(value):
            raise PayloadError(f"its metric {name!r} is {value!r}; it must be one finite number")
    return {name.removeprefix(_METRIC): float(value) for name, value in metrics.items()}
