"""Golden vectors of what a device that is no Python program must do too; `make_vectors` writes them.

draws.json      the generator of a purpose: its words, floats, and an order of samples
pipelines.json  what each text of a pipeline means, and hashes of what it sends of 10,000 values, of which
                few are exact: the order of rounding and adding counts
plans.json      what a client insists on in a masked round, by the size of the cohort
objects.json    messages as Flower's objects, bundled, in an envelope; and replies with their envelopes
fleet.json      the Fleet API's messages: their fields, and one of each as bytes
"""

import hashlib
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from hedgerow.node.outbox import Outbox, Pending
from hedgerow.node.reply import reply_to
from hedgerow.ring.secagg import SecureAggregation
from hedgerow.rng import generator, integer_seed
from hedgerow.strategies import encode, parse_pipeline
from hedgerow.strategies.transforms.mask import shape_of
from hedgerow.types import Arrays, Client, Layout, RoundContext, Tensor
from hedgerow.wire import bundle, codec, envelope, objects
from hedgerow.wire.content import Content
from hedgerow.wire.fleet import FLEET, SCHEMA

PLACES = [
    (7, "shuffle", 1, "a"),
    (0, "", 0, ""),
    (2**63 - 1, "quantize", 300, "münchen 😀"),
    (-5, "random_k", 2**31, "b"),
]

WIDE = Layout((Tensor("first", (99, 100)), Tensor("second", (100,))))

PIPELINES = (
    "float32()",
    "chain(weight_by_examples(), clip(2.5))",
    "adaptive_clip()",
    "chain(clip(1e-05), gaussian_noise(0.7))",
    "quantize()",
    "quantize(bits=3, block=1000)",
    "quantize(1)",
    "quantize(1, 'nearest')",
    "quantize(16, rounding='nearest')",
    "top_k(0.013)",
    "random_k(0.37)",
    "error_feedback(top_k(0.02), quantize(3))",
    "error_feedback(quantize(1, rounding='nearest'))",
    "chain(weight_by_examples(32), quantize(8, range=0.3), mask(min_clients=4, metrics='loss accuracy'))",
    "chain(clip(1.0), quantize(12, range=0.1), mask(corrupt=0.1, dropout=0.0, failure_bits=64, measured=''))",
    "chain(random_k(0.1), quantize(4, rounding='nearest', range=0.5), mask())",
    "chain(clip(0.5), randomized_round(0.0009765625, 0.5, range=0.125),"
    " distributed_noise(1.5, 0.5, 0.0009765625, 12), mask(min_clients=20))",
    "chain(clip(1.0), randomized_round(0.03125, 1.0), skellam_noise(0.4, 1.0, 0.03125, 40, 16),"
    " mask(min_clients=60))",
)
COHORTS = (60, 100, 1000)


def shown(array: np.ndarray) -> Any:
    """An array by its hash."""
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return {
        "dtype": str(array.dtype),
        "length": len(array),
        "sha256": hashlib.sha256(little.tobytes()).hexdigest(),
    }


def draws() -> Any:
    """Of some places."""
    found = []
    for seed, purpose, round, client in PLACES:
        place: Any = {"round": round, "client": client}
        raw = generator(seed, purpose, **place).bit_generator.random_raw(4)
        found.append(
            {
                "seed": seed,
                "purpose": purpose,
                **place,
                "raw": [int(word) for word in raw],
                "doubles": generator(seed, purpose, **place).random(3).tobytes().hex(),
                "floats": generator(seed, purpose, **place).random(3, np.float32).tobytes().hex(),
                "orders": [generator(seed, purpose, **place).permutation(n).tolist() for n in (1, 2, 37)],
                "integer seed": integer_seed(seed, purpose, **place),
            }
        )
    return found


def pipelines() -> Any:
    """Of `WIDE`, whose values are hashes' bytes over odd numbers."""
    found = {}
    stream = np.frombuffer(hashlib.shake_256(b"values").digest(4 * WIDE.dimension), "<i4")
    values = (stream / np.float64(3 * 2**33)).astype(np.float32)
    for text in PIPELINES:
        pipeline, rounds = parse_pipeline(text), []
        state: Arrays = {}
        for round in (1, 2):
            where = RoundContext(11, round, Client("wide"), WIDE, num_examples=29, seeded_noise=True)
            payload, state = encode(pipeline, values / np.float32(round), state, where)
            kept = {name: shown(array) for name, array in state.items()}
            sent = {name: shown(array) for name, array in payload.arrays.items()}
            rounds.append({"sent": sent, "weight": float(payload.weight), "kept": kept})
        masked = pipeline.sum_only
        found[text] = {
            "name": pipeline.name,
            "length": pipeline.length(WIDE.dimension),
            "max weight": pipeline.max_weight,
            "bits": {n: shape_of(pipeline, WIDE, n).ring.bits for n in COHORTS} if masked else {},
            "rounds": rounds,
        }
    what = "values are float32(SHAKE-256 of 'values' as int32 / (3 * 2**33)); in round 2 half of that"
    return {"values": what, "seed": 11, "client": "wide", "examples": 29, "pipelines": found}


def plans() -> Any:
    """Of several assumptions and cohorts."""
    found = []
    for corrupt, dropout, failure_bits, least in ((0.2, 0.2, 40, 10), (0.0, 0.2, 20, 5), (0.3, 0.1, 80, 60)):
        secure = SecureAggregation(corrupt, dropout, least, failure_bits)
        for clients in (least, 41, 100, 450):
            try:
                plan = vars(secure.plan(clients))
            except ValueError:
                plan = None
            near = [secure.corrupt_near(clients, left, 40) for left in (clients, clients * 4 // 5)]
            told = {"corrupt": corrupt, "dropout": dropout, "failure bits": failure_bits, "clients": clients}
            found.append({**told, "plan": plan, "near": near})
    return found


def told_objects(contents: dict[str, Content]) -> Any:
    """Of every message; the contents of some, bundled; and one reply in each form."""
    packed = {}
    for name, content in contents.items():
        root, found = objects.pack(content)
        packed[name] = {"root": root, "objects": {each: data.hex() for each, data in found.items()}}
    answer = codec.encode(contents["train reply"])
    asked = FLEET["Message"](
        metadata=FLEET["Metadata"](
            run_id=2**63 + 5, message_id="ab" * 32, src_node_id=1, dst_node_id=2**64 - 2, group_id="7",
            ttl=3600.5, message_type="train", created_at=1_790_000_000.25, dst_task_id=0, src_task_id=9,
        )
    )  # fmt: skip
    inside = envelope.name_of(b"reply")
    forms: dict[str, dict[str, Any]] = {
        "objects": {},
        "bundled": {"bundled": True},
        "envelope": {"reply": inside},
        "error": {"error": "why"},
    }
    replies = {}
    with tempfile.TemporaryDirectory() as folder:
        outbox = Outbox(Path(folder))
        outbox.keep("key", answer)
        for name, form in forms.items():
            come = Pending("ab" * 32, b"", b"", answer="key", made=1_790_000_042.5, **form)
            reply, tree, found = reply_to(asked, come, 2**64 - 2, outbox)
            replies[name] = {
                **form,
                "message": reply.SerializeToString(deterministic=True).hex(),
                "tree": tree.SerializeToString(deterministic=True).hex(),
                "objects": {each: data.hex() for each, data in found.items()},
            }
    return {
        "packed": packed,
        "bundled": codec.encode(bundle.bundled(answer)).hex(),
        "in an envelope": [inside, envelope.secret_name()[:16] + "0" * 48],
        "asked": asked.SerializeToString(deterministic=True).hex(),
        "made": 1_790_000_042.5,
        "replies": replies,
    }


def fleet() -> Any:
    """A message of each kind, all of whose fields have values."""
    found = {}
    for name, fields in SCHEMA.items():
        found[name] = {
            "fields": [list(field) for field in fields],
            "bytes": filled(name, 1).SerializeToString(deterministic=True).hex(),
        }
    return found


def filled(name: str, depth: int) -> Any:
    """A message whose fields hold their own numbers, as far down as a tree's children."""
    values: dict[str, Any] = {}
    for field, number, kind in SCHEMA[name]:
        plain, many = kind.rstrip("*?"), kind.endswith("*")
        if plain in SCHEMA:
            value = filled(plain, depth + 1) if depth < 4 else None
        else:
            own = {
                "string": f"é{number}", "bytes": bytes([0, number]), "double": number + 0.5, "bool": True,
                "uint64": 2**64 - number,
            }  # fmt: skip
            value = own.get(plain, -number)
        if value is not None:
            values[field] = [value, value] if many else value
    return FLEET[name](**values)
