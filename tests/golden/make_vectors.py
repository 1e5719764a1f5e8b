"""Write the golden vectors: `python -m tests.golden.make_vectors`, by hand, when a format changes on purpose.

They are for other languages: each file of `vectors/` is JSON, with what goes in and what comes out.
Bytes are hex digits; arrays are `{"dtype", "shape", "hex"}`, little-endian and row by row; floats are
as JSON writes them, and their bits beside them where they count.

    messages.json   every message, as its records and as the bytes that are sent
    rings.json      what a client adds under a mask: numbers, weight, metrics and buffers as lanes and words
    packings.json   numbers of so many bits, one after another
    norms.json      sums of squares in blocks of 4096, and what a clip makes of a vector
    deltas.json     what goes into the payloads of `payloads/`, with seed, client and layout
    draws.json, pipelines.json, plans.json, objects.json, fleet.json: see `node_vectors`
    strategies.json: descriptions, and what a device must know of each
    answers.json: requests, and what a client with a simple trainer answers
    downlinks.json: see `downlink_vectors`
    devices.json: see `device_vectors`
    registers.json: see `register_vectors`

The whole conversation of a masked round is in `transcript.txt`, a mean's bits in `sums.txt`.
"""

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hedgerow.ring.arithmetic import Ring
from hedgerow.ring.packing import pack
from hedgerow.ring.vector import RingSum, open_payload
from hedgerow.strategies import parse_pipeline
from hedgerow.strategies.norms import clipped, l2_norm, square_sum
from hedgerow.strategies.transforms.mask import model_hash, shape_of, to_ring
from hedgerow.types import Fit, Layout, Model, Payload, Tensor
from hedgerow.wire import codec
from hedgerow.wire.arrays import read_array
from hedgerow.wire.content import Array, ArrayRecord, ConfigRecord, Content, MetricRecord
from hedgerow.wire.messages import pack_identity, pack_stage, pack_train, pack_vector
from hedgerow.wire.replies import Reply, pack_reply
from tests.golden import (
    client_vectors,
    device_vectors,
    downlink_vectors,
    node_vectors,
    register_vectors,
    strategy_vectors,
)

FOLDER = Path(__file__).parent / "vectors"
LAYOUT = Layout(
    (Tensor("weight", (2, 3)), Tensor("bias", (2,))), (Tensor("mean", (2,)),), (Tensor("pad", ()),)
)
MASKED = "chain(weight_by_examples(8), quantize(6, range=1.0), mask(metrics='loss accuracy'))"


def numbers(n: int, factor: int = 7919) -> np.ndarray:
    """Whole numbers over a power of two, of both signs: exact on every machine."""
    i = np.arange(n, dtype=np.int64)
    return (((i * i * factor + i * 104_729 + 31) % 2003 - 1001) / 2.0 ** (10 + i % 5)).astype(np.float32)


def shown(value: Any) -> Any:
    """A value as JSON can hold it."""
    if isinstance(value, Array):
        return {"stype": value.stype, "data": value.data.hex(), **shown(read_array(value))}
    if isinstance(value, np.ndarray):
        little = np.ascontiguousarray(value, value.dtype.newbyteorder("<"))
        return {"dtype": str(value.dtype), "shape": list(value.shape), "hex": little.tobytes().hex()}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, list):
        return [shown(each) for each in value]
    return {name: shown(each) for name, each in value.items()} if isinstance(value, dict) else value


def contents() -> dict[str, Content]:
    """Every message that there is, and every kind of value that a record may hold."""
    values = numbers(8)
    model = Model(values, numbers(2, 31), numbers(1, 37))
    request = pack_train(model, LAYOUT, round=300, seed=2026)
    told = pack_train(
        model, LAYOUT, round=3, seed=0, streams={"control": numbers(8, 41)}, uncounted={"münchen": 2, "b": 1}
    )
    payload = Payload({"values": np.arange(-4, 4, dtype=np.int8), "scale": np.float32([0.5])}, 37.0)
    streams = {"buffers": numbers(2, 43), "control": numbers(8, 47)}
    reply = Reply(payload, streams, 37, {"loss": 0.25, "accuracy": 1 / 3})
    vector = {"values": np.arange(9, dtype=np.uint8), "words": np.array([1, 2**64 - 1], np.uint64)}
    everything = {
        "none": [], "true": True, "zero": 0, "minus": -1, "large": 2**64 - 1, "float": -0.1, "text": "grün",
        "bytes": b"\x00\xff", "truths": [True, False], "numbers": [-(2**63), 2**63 - 1],
        "larges": [1, 2**64 - 1], "floats": [0.0, 1e300], "texts": ["", "a"], "several": [b"", b"a"], "": "",
    }  # fmt: skip
    return {
        "nothing": {},
        "query reply": pack_identity("client-0007"),
        "train": request,
        "train with a stream and clients not counted": told,
        "train under a mask": pack_train(model, LAYOUT, round=1, seed=7, clients=10),
        "train reply": pack_reply(reply, round=300, client="client-0007"),
        "stage": pack_stage(bytes(range(20))),
        "stage with train": pack_stage(b"delivery", request),
        "ring vector": pack_vector(vector, b"masked"),
        "settings": {"a": ConfigRecord(everything)},
        "metrics": {"a": MetricRecord({"list": [1.5, -2.5], "whole": [3], "one": 7, "none": []})},
        "no records' items": {"arrays": ArrayRecord(), "settings": ConfigRecord(), "metrics": MetricRecord()},
    }


def messages() -> Any:
    """Every message: records by kind, and bytes."""
    found = {}
    for name, content in contents().items():
        records = {
            key: {"kind": type(record).__name__, "items": shown(record)} for key, record in content.items()
        }
        found[name] = {"records": records, "bytes": codec.encode(content).hex()}
    model = Model(numbers(8), numbers(2, 31), numbers(1, 37))
    hashed = {"seed": 2026, "round": 300, "sha256": model_hash(model, LAYOUT, 2026, 300).hex()}
    return {"layout": {"fingerprint": LAYOUT.fingerprint}, "model hash": hashed, "messages": found}


def rings() -> Any:
    """Clients of a cohort, and their sum."""
    pipeline, clients = parse_pipeline(MASKED), 10
    shape = shape_of(pipeline, LAYOUT, clients)
    total, found = RingSum(shape), []
    for client in range(3):
        whole = (numbers(8, 53 + client) * 30).astype(np.int32)
        buffers, weight = numbers(2, 59 + client), float(2 + client)
        metrics = {"loss": 0.75 * client} | ({"accuracy": 0.5} if client else {})
        fit = Fit(np.zeros(8, np.float32), buffers, 5 + client, metrics)
        vector = to_ring(Payload({"values": whole}, weight), fit, shape, pipeline)
        total.add(vector)
        told = {
            "numbers": whole.tolist(),
            "weight": weight,
            "buffers": shown(buffers),
            "examples": 5 + client,
        }
        sent = {name: shown(array) for name, array in open_payload(vector, shape).items()}
        found.append({**told, "metrics": metrics, "sent": sent})
    summed = {
        "total": total.total().tolist(), "weight": total.weight, "mean": shown(total.mean()),
        "metrics": dict(total.metrics()), "buffers": shown(total.streams()),
    }  # fmt: skip
    told = {"pipeline": MASKED, "clients": clients, "bits": shape.ring.bits, "length": shape.length}
    return {**told, "words": shape.words, "vectors": found, "sum": summed}


def packings() -> Any:
    """The same numbers, modulo a power of two, in each number of bits."""
    signed = np.array([0, 1, -1, 5, -300, 70_000, -(2**31), 2**31 - 1, 77, -78, 79], np.int64)
    found = {}
    for bits in range(1, 33):
        ring = Ring(bits)
        lanes = ring.reduced(ring.put(signed))
        back = ring.signed(lanes).tolist()
        found[bits] = {"lanes": lanes.tolist(), "signed": back, "packed": ring.pack(lanes).tobytes().hex()}
    return {"numbers": signed.tolist(), "none": pack(np.empty(0, np.uint8), 3).tobytes().hex(), "bits": found}


def norms() -> Any:
    """Sums whose last bits depend on the order of adding."""
    found = []
    for n in (0, 1, 2, 203, 4095, 4096, 4097, 10_000):
        x = numbers(n) / np.float32(3)
        clip = {"bound": 0.75, "values": clipped(x, 0.75).astype("<f4")[-4:].tobytes().hex()}
        bits = [np.float64(value).tobytes().hex() for value in (square_sum(x), l2_norm(x))]
        found.append({"n": n, "square sum": bits[0], "norm": bits[1], "last four of clipped": clip})
    what = "values are float32(((i*i*7919 + i*104729 + 31) % 2003 - 1001) / 2**(10 + i % 5)) / float32(3)"
    return {"values": what, "vectors": found}


def deltas() -> Any:
    """What the payloads were made from."""
    make = runpy.run_path(str(Path(__file__).with_name("make.py")))
    where = make["context"](1)
    return {
        "seed": where.seed, "client": where.client, "examples": where.num_examples,
        "tensors": [{"name": tensor.name, "shape": list(tensor.shape)} for tensor in where.layout.parameters],
        "deltas": {round: shown(make["delta"](round)) for round in (1, 2)},
    }  # fmt: skip


FILES: dict[str, Callable[[], Any]] = {
    "messages": messages,
    "rings": rings,
    "packings": packings,
    "norms": norms,
    "deltas": deltas,
    "draws": node_vectors.draws,
    "pipelines": node_vectors.pipelines,
    "plans": node_vectors.plans,
    "objects": lambda: node_vectors.told_objects(contents()),
    "fleet": node_vectors.fleet,
    "strategies": strategy_vectors.strategies,
    "answers": client_vectors.answers,
    "downlinks": downlink_vectors.downlinks,
    "devices": device_vectors.devices,
    "registers": register_vectors.registers,
}


def text(name: str) -> str:
    """A file's text."""
    return json.dumps(FILES[name](), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in FILES:
        (FOLDER / f"{name}.json").write_text(text(name), encoding="utf-8")
