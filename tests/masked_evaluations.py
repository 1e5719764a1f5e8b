"""Five clients that measure under a mask, and a server that is us: it can say what it likes."""

from dataclasses import replace
from typing import Any

from flwr.app import Context, RecordDict

from hedgerow.client.app import client_app
from hedgerow.client.secure.enrolment import SimulatedEnrolments
from hedgerow.datasets import HeldOut
from hedgerow.ring.vector import read_vector
from hedgerow.secure.codec import decode, encode
from hedgerow.secure.messages import EVALUATE, TRAIN, Advert, Masked, Revealed, Shares, Signed, name_of
from hedgerow.secure.server import SecureRound
from hedgerow.server.secure import set_up
from hedgerow.simulation import flower
from hedgerow.strategies import fedavg, parse_pipeline
from hedgerow.strategies.measuring import measured_shape
from hedgerow.strategies.transforms.mask import model_hash, shape_of
from tests.flower_messages import pack_stage, pack_train, unpack_stage
from tests.support import MeanTrainer, clients

STAGES = ("keys", "shares", "masked", "survivors", "unmask")
STRATEGY = fedavg(
    pipeline=parse_pipeline("chain(clip(5.0), quantize(8, range=1.0), mask(min_clients=4, dropout=0.0))"),
    weighted=False,
)
TRAINER, DATA = MeanTrainer(), HeldOut(clients(5), 0.4)
MODEL = TRAINER.initial(0)
SECURE = STRATEGY.pipeline.protection.secure


class Cohort:
    """The clients of a federation, in which one round after another is begun."""

    def __init__(self, strategy=STRATEGY, enrolment=None) -> None:
        enrolment = enrolment or SimulatedEnrolments(bytes(32)).enrolment
        self.app = client_app(TRAINER, DATA, strategy, enrolment=enrolment)
        self.contexts = {
            name: Context(1, i, {"client-name": name}, RecordDict(), {}) for i, name in enumerate(DATA.names)
        }

    def begin(self, purpose: str, round: int = 1, members=DATA.names, run: str = "run", **changed) -> None:
        """A round of a purpose, with something of its setup changed."""
        self.purpose, self.members = purpose, tuple(members)
        count = len(self.members)
        shapes = {
            TRAIN: lambda: shape_of(STRATEGY.pipeline, TRAINER.layout, count),
            EVALUATE: lambda: measured_shape(SECURE, count),
        }
        self.shape = shapes[purpose]()
        model = model_hash(MODEL, TRAINER.layout, 0, round)
        setup = set_up(SECURE, self.shape, self.members, name_of(run, purpose), round, model)
        self.setup = replace(setup, **changed)
        self.server = SecureRound(self.setup, self.shape)
        self.request = pack_train(MODEL, TRAINER.layout, round=round, seed=0, clients=count)

    def ask(self, name: str, kind: str, content: RecordDict) -> RecordDict:
        with flower.task_identity(1):
            message = flower.instruction(1, "m", 1, content, message_type=kind, group_id="1")
            return self.app(message, self.contexts[name]).content

    def content(self, name: str, stage: str) -> RecordDict:
        """What the server sends at a stage."""
        if stage == "masked":
            return pack_stage(encode(self.server.delivery(name)), self.request)
        said: Any = {
            "keys": lambda: self.setup, "shares": lambda: self.server.adverts,
            "survivors": lambda: self.server.survivors, "unmask": lambda: self.server.unmask,
        }[stage]  # fmt: skip
        return pack_stage(encode(said()))

    def stage(self, stage: str) -> None:
        for name in self.members:
            reply = self.ask(name, f"{self.purpose}.{stage}", self.content(name, stage))
            said = unpack_stage(reply)
            match stage:
                case "keys":
                    self.server.add_advert(name, decode(Advert, said))
                case "shares":
                    self.server.add_shares(name, decode(Shares, said))
                case "masked":
                    vector = read_vector({k: a.numpy() for k, a in reply["vector"].items()}, self.shape)
                    self.server.add_masked(name, decode(Masked, said), vector)
                case "survivors":
                    self.server.add_signature(name, decode(Signed, said))
                case "unmask":
                    self.server.add_revealed(name, decode(Revealed, said))

    def until(self, stage: str) -> "Cohort":
        """Run the stages before this one; `"end"` for all."""
        for done in STAGES[: (*STAGES, "end").index(stage)]:
            self.stage(done)
        return self
