"""Five devices, each with its own enrolment folder, and a server that is us: it can ask what it likes."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from flwr.app import Context, Message, RecordDict

from hedgerow.client.app import client_app
from hedgerow.client.policy_file import NAME
from hedgerow.client.secure.answered_rounds import AnsweredRounds
from hedgerow.client.secure.enrolment import REGISTER, enrol, load_enrolment
from hedgerow.client.secure.register_file import register_line
from hedgerow.ring.vector import read_vector
from hedgerow.secure.codec import decode, encode
from hedgerow.secure.messages import Advert, Adverts, Masked, Revealed, Shares, Signed
from hedgerow.secure.primitives import sign
from hedgerow.secure.server import SecureRound
from hedgerow.secure.states import Confirmed, Contributed, Joined, Shared, reopen
from hedgerow.server.secure import set_up
from hedgerow.simulation import flower
from hedgerow.strategies import fedavg, parse_pipeline
from hedgerow.strategies.transforms.mask import model_hash, shape_of
from tests.flower_messages import pack_stage, pack_train, unpack_stage
from tests.support import MeanTrainer, clients

STAGES = ("keys", "shares", "masked", "survivors", "unmask")
KEPT = "hedgerow.secure.round"

PIPELINE = parse_pipeline("chain(clip(5.0), quantize(8, range=1.0), mask(min_clients=5))")
TRAINER, DATA = MeanTrainer(), clients(5)
MODEL = TRAINER.initial(0)


class Enrolled:
    """The devices of one round; a second one on the same folder is the devices after a restart."""

    def __init__(self, home: Path) -> None:
        self.home, self.devices = home, DATA.names
        lines = [register_line(name, bytes.fromhex(enrol(home / name))) for name in self.devices]
        for name in self.devices:
            (home / name / REGISTER).write_text("\n".join(lines))
            (home / name / NAME).write_text("min_clients = 5\n")
        self.app = client_app(TRAINER, DATA, fedavg(pipeline=PIPELINE, weighted=False))
        self.contexts = {name: self.context(name) for name in self.devices}
        self.begin(1, "run")

    def begin(self, round: int, run: str) -> None:
        shape = shape_of(PIPELINE, TRAINER.layout, 5)
        model = model_hash(MODEL, TRAINER.layout, 0, round)
        self.setup = set_up(PIPELINE.protection.secure, shape, DATA.names, run, round, model)
        self.server, self.shape = SecureRound(self.setup, shape), shape
        self.request = pack_train(MODEL, TRAINER.layout, round=round, seed=0, clients=5)

    def context(self, device: str) -> Context:
        config = {"client-name": device, "enrolment": str(self.home / device)}
        return Context(1, 1, config, RecordDict(), {})

    def content(self, device: str, stage: str) -> RecordDict:
        """What the server sends to a device at a stage."""
        match stage:
            case "keys":
                return pack_stage(encode(self.setup))
            case "shares":
                return pack_stage(encode(self.server.adverts))
            case "masked":
                return pack_stage(encode(self.server.delivery(device)), self.request)
            case "survivors":
                return pack_stage(encode(self.server.survivors))
            case "unmask":
                return pack_stage(encode(self.server.unmask))
            case _:
                return pack_stage(b"it has failed")

    def message(self, stage: str, content: RecordDict) -> Message:
        with flower.task_identity(1):
            return flower.instruction(1, "m", 1, content, message_type=f"train.{stage}", group_id="1")

    def ask(self, device: str, stage: str, context: Context | None = None) -> RecordDict:
        message = self.message(stage, self.content(device, stage))
        return self.app(message, context or self.contexts[device]).content

    def until(self, stage: str) -> "Enrolled":
        """Run the stages before this one."""
        for done in STAGES[: STAGES.index(stage)]:
            for device in self.devices:
                self.take(device, done, self.ask(device, done))
        return self

    def take(self, device: str, stage: str, reply: RecordDict) -> None:
        match stage:
            case "keys":
                self.server.add_advert(device, decode(Advert, unpack_stage(reply)))
            case "shares":
                self.server.add_shares(device, decode(Shares, unpack_stage(reply)))
            case "masked":
                vector = read_vector({k: a.numpy() for k, a in reply["vector"].items()}, self.shape)
                self.server.add_masked(device, decode(Masked, unpack_stage(reply)), vector)
            case "survivors":
                self.server.add_signature(device, decode(Signed, unpack_stage(reply)))
            case "unmask":
                self.server.add_revealed(device, decode(Revealed, unpack_stage(reply)))

    def wrong_messages(self, stage: str) -> Iterator[Message]:
        """What a device refuses, at a stage that it has not answered."""
        yield self.message("train", self.request)
        if stage == "shares":
            yield self.message(stage, pack_stage(encode(self.with_a_weak_key())))
        for asked in STAGES:
            yield self.message(asked, pack_stage(b""))
            yield self.message(asked, pack_stage(encode(("nonsense", 1))))
            if asked != stage:
                yield self.message(asked, pack_stage(encode(self.setup), self.request))

    def with_a_weak_key(self) -> Adverts:
        """Everybody's keys, of which the last client's is of low order: seen when secrets are drawn."""
        *others, last = self.server.adverts.adverts
        secret = load_enrolment(self.home / last.name).secret
        weak = replace(last, share_key=bytes(32))
        signed = replace(weak, signature=sign(secret, weak.signed(self.setup.session)))
        return Adverts(self.setup.session, (*others, signed))

    def kept(self, device: str) -> Any:
        return copy.deepcopy(self.contexts[device].state.get(KEPT))

    def put_back(self, device: str, record: Any) -> None:
        self.contexts[device].state.pop(KEPT, None)
        if record is not None:
            self.contexts[device].state[KEPT] = copy.deepcopy(record)

    def copy(self, device: str) -> Context:
        copied = self.context(device)
        if (record := self.kept(device)) is not None:
            copied.state[KEPT] = record
        return copied

    def secrets(self, device: str) -> list[bytes]:
        """All that nobody else may ever see: the identity, and what the device keeps of the round."""
        own = load_enrolment(self.home / device)
        record = self.contexts[device].state.get(KEPT)
        if record is None or record["done"]:
            return [own.secret]
        salt = AnsweredRounds({}, own.folder, device).salt(record["run"], record["round"])
        kind = {kind.__name__.encode(): kind for kind in (Joined, Shared, Contributed, Confirmed)}[
            record["state"].partition(b" ")[0]
        ]
        state = reopen(record["state"], kind, own.secret, salt)
        held = getattr(state, "contributed", state)
        found = [own.secret, *(getattr(state, name, b"") for name in ("mask_secret", "share_secret", "seed"))]
        for share in getattr(held, "held", ()):
            found += [share.self_mask, share.mask_key]
        return [secret for secret in found if secret]
