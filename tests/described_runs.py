"""Runs as a server describes them, and devices that are asked to take part."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from hedgerow.client.policy import Policy
from hedgerow.client.policy_file import NAME, policy_text
from hedgerow.client.trainers import TRAINERS
from hedgerow.node.device import Device, Enrolled
from hedgerow.node.kit import Kit
from hedgerow.node.outbox import Outbox
from hedgerow.node.responder import Responder
from hedgerow.recipe.announcement import RECORD, Announcement
from hedgerow.recipe.own_data import OwnSchema
from hedgerow.recipe.strategy import describe
from hedgerow.secure.codec import decode, encode
from hedgerow.secure.messages import EVALUATE, Setup, name_of
from hedgerow.strategies import fedavg, secure_fedavg
from hedgerow.strategies.measuring import measured_shape
from hedgerow.strategies.transforms.mask import shape_of
from hedgerow.types import Fit, Layout, Model, Tensor
from hedgerow.wire.content import Content
from hedgerow.wire.messages import pack_stage, pack_train, unpack_stage

LAYOUT = Layout((Tensor("weight", (2,)),))
SCHEMA = OwnSchema(columns=("a", "b"), classes=("no", "yes"), lowest=(0.0,), highest=(9.0,))
RUN = "0" * 31 + "1"
OPEN = Policy.unenrolled()
MASKED = secure_fedavg(min_clients=3, dropout=0.0)


class Mean:
    """Moves the model to the mean of the samples."""

    layout = LAYOUT
    fits = 0

    def initial(self, seed: int) -> Model:
        return Model(np.zeros(2, np.float32))

    def fit(self, model: Model, data: Any, local: Any, **where: Any) -> Fit:
        Mean.fits += 1
        return Fit(data.x.mean(0) - model.parameters, model.buffers, len(data), {"loss": 1.0})

    def evaluate(self, model: Model, data: Any) -> dict[str, float]:
        return {"loss": 1.0}


def description(strategy: Any = None, **changes: Any) -> dict[str, Any]:
    found = {
        "strategy": strategy if isinstance(strategy, dict) else describe(strategy or fedavg()),
        "task": {"kind": "classification", "model": {"name": "logistic", "arguments": {}}, "lora": None},
        "data": {
            **SCHEMA.to_json(), "name": "own", "input_shape": [2], "num_outputs": 2, "held_out": None,
            "held_out_by": "row",
        },
        "run": {"trainer": "mean", "precision": "float32"},
        "layout": LAYOUT.fingerprint,
        "seed": 0,
    }  # fmt: skip
    return {**found, **changes}


def announced(version: str = "0.1.0", **changes: Any) -> Announcement:
    return Announcement.of(description(**changes), run=RUN, version=version)


def asked(about: Announcement, content: Content | None = None, *, whole: bool = True) -> Content:
    return {**(content or {}), RECORD: about.whole() if whole else about.short()}


def train(round: int = 1, value: float = 0.0) -> Content:
    return pack_train(Model(np.full(2, value, np.float32)), LAYOUT, round=round, seed=0)


def keys(token: str, round: int = 1, model: bytes = bytes(32)) -> Content:
    shape, plan = shape_of(MASKED.pipeline, LAYOUT, 3), MASKED.pipeline.protection.secure.plan(3)
    setup = Setup(
        token, round, ("attic", "barn", "kitchen"), plan.neighbours, plan.threshold, plan.survivors,
        shape.ring.bits, shape.length, shape.words, model,
    )  # fmt: skip
    return pack_stage(encode(setup))


def evaluation_keys(token: str, round: int = 1) -> Content:
    """The same of an evaluation."""
    setup = decode(Setup, unpack_stage(keys(token, round)))
    shape = measured_shape(MASKED.pipeline.protection.secure, 3)
    changed = {"bits": shape.ring.bits, "length": shape.length, "words": shape.words}
    return pack_stage(encode(replace(setup, run=name_of(token, EVALUATE), **changed)))


@contextmanager
def installed() -> Iterator[None]:
    """A trainer that is installed on the device."""
    Mean.fits = 0
    targets = {**TRAINERS._targets, "mean": f"{__name__}:make"}
    with patch.object(TRAINERS, "_targets", targets):
        yield


def make(task: Any, computing: Any) -> Mean:
    return Mean()


def joined(folder: Path, policy: Policy) -> Responder:
    """A device with data of its own."""
    folder.mkdir(exist_ok=True)
    (folder / "own.csv").write_text("a,b,label\n1,2,no\n3,4,yes\n")
    kit = Kit("0" * 16, "kitchen", "https://localhost:1")
    made = Device.make(folder / "device", Enrolled(kit, True, 1, str(folder / "own.csv"), 0.0))
    (made.folder / NAME).write_text(policy_text(policy))
    (made.folder / NAME).chmod(0o600)
    return Responder(made, Outbox(made.folder / "outbox"))


def again(responder: Responder) -> Responder:
    """The same device after a restart."""
    folder = responder._device.folder
    return Responder(Device(folder), Outbox(folder / "outbox"))
