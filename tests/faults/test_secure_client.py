"""What a client keeps between messages: it answers once, never in the clear, and for one model only."""

from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest
from flwr.app import ConfigRecord, Context, RecordDict

from hedgerow.client.app import client_app
from hedgerow.client.flower import node_enrolment
from hedgerow.client.secure.answered_rounds import AnsweredRounds
from hedgerow.client.secure.enrolment import Enrolment, SimulatedEnrolments, enrol, load_enrolment
from hedgerow.ring.vector import read_vector
from hedgerow.secure.codec import decode, encode
from hedgerow.secure.errors import (
    AlreadyAnswered,
    AskedTooOften,
    Malformed,
    NotMasked,
    OutOfOrder,
    Refused,
    StaleRound,
    UnknownIdentity,
    WrongIdentity,
    WrongModel,
)
from hedgerow.secure.messages import Advert, Masked, Revealed, Setup, Shares, Signed
from hedgerow.secure.register import Register
from hedgerow.secure.server import SecureRound
from hedgerow.server.secure import set_up
from hedgerow.simulation import flower
from hedgerow.strategies import cyclic, fedavg, parse_pipeline, secure_dp_fedavg
from hedgerow.strategies.transforms.mask import model_hash, shape_of
from tests.flower_messages import pack_stage, pack_train, unpack_stage
from tests.support import MeanTrainer, clients

PIPELINE = parse_pipeline("chain(clip(5.0), quantize(8, range=1.0), mask(min_clients=5))")
PLAIN = fedavg(pipeline=PIPELINE, weighted=False)
NOISED = secure_dp_fedavg(
    0.5, 2.0, corrupt=0.0, dropout=0.0, min_clients=5, sampling=cyclic(5, population=15)
)
TRAINER = MeanTrainer()
DATA = clients(5)
MODEL = TRAINER.initial(0)


class Federation:
    """Five clients and a server that is us: it can say what it likes."""

    def __init__(
        self, folder=None, round: int = 1, run: str = "run", strategy=PLAIN, config=MappingProxyType({})
    ) -> None:
        self.pipeline = strategy.pipeline
        identities = SimulatedEnrolments(bytes(32))

        def enrolment(context: Context, name: str) -> Enrolment:
            return replace(identities.enrolment(context, name), folder=folder)

        self.app = client_app(TRAINER, DATA, strategy, enrolment=enrolment)
        self.contexts = {
            name: Context(1, i, {"client-name": name, **config}, RecordDict(), {})
            for i, name in enumerate(DATA.names)
        }
        self.begin(round, run)

    def begin(self, round: int, run: str = "run") -> None:
        self.shape = shape_of(self.pipeline, TRAINER.layout, 5)
        model = model_hash(MODEL, TRAINER.layout, 0, round)
        self.setup = set_up(self.pipeline.protection.secure, self.shape, DATA.names, run, round, model)
        self.server = SecureRound(self.setup, self.shape)
        self.request = pack_train(MODEL, TRAINER.layout, round=round, seed=0, clients=5)

    def ask(self, name: str, stage: str, content: RecordDict) -> RecordDict:
        with flower.task_identity(1):
            message = flower.instruction(1, "m", 1, content, message_type=f"train.{stage}", group_id="1")
            return self.app(message, self.contexts[name]).content

    def keys(self) -> None:
        for name in DATA.names:
            reply = self.ask(name, "keys", pack_stage(encode(self.setup)))
            self.server.add_advert(name, decode(Advert, unpack_stage(reply)))

    def shares(self) -> None:
        for name in DATA.names:
            reply = self.ask(name, "shares", pack_stage(encode(self.server.adverts)))
            self.server.add_shares(name, decode(Shares, unpack_stage(reply)))

    def masked(self) -> None:
        for name in DATA.names:
            reply = self.ask(name, "masked", self.delivery(name))
            vector = read_vector({k: a.numpy() for k, a in reply["vector"].items()}, self.shape)
            self.server.add_masked(name, decode(Masked, unpack_stage(reply)), vector)

    def survivors(self) -> None:
        for name in DATA.names:
            reply = self.ask(name, "survivors", pack_stage(encode(self.server.survivors)))
            self.server.add_signature(name, decode(Signed, unpack_stage(reply)))

    def unmask(self) -> None:
        for name in DATA.names:
            reply = self.ask(name, "unmask", pack_stage(encode(self.server.unmask)))
            self.server.add_revealed(name, decode(Revealed, unpack_stage(reply)))

    def delivery(self, name: str) -> RecordDict:
        return pack_stage(encode(self.server.delivery(name)), self.request)

    def until(self, stage: str) -> "Federation":
        stages = ("keys", "shares", "masked", "survivors", "unmask", "end")
        for done in stages[: stages.index(stage)]:
            getattr(self, done)()
        return self


ANY = DATA.names[2]


def test_a_client_that_adds_noise_takes_its_turn_and_no_other() -> None:
    federation = Federation(round=4, strategy=NOISED)
    federation.keys()
    for round in (5, 6):
        federation.begin(round)
        with pytest.raises(AskedTooOften):
            federation.keys()
    federation.begin(7)
    federation.keys()


def test_a_whole_round_gives_the_sum_and_leaves_no_secret_behind() -> None:
    federation = Federation().until("end")
    assert federation.server.unmasked().weight == 5
    for context in federation.contexts.values():
        assert dict(context.state["hedgerow.secure.round"]) == {"state": b"", "done": True}


def test_asked_twice_for_its_shares_a_client_has_none_left() -> None:
    federation = Federation().until("end")
    with pytest.raises(AlreadyAnswered):
        federation.ask(ANY, "unmask", pack_stage(encode(federation.server.unmask)))
    fewer = replace(federation.server.survivors, alive=DATA.names[:4], dead=DATA.names[4:])
    with pytest.raises(AlreadyAnswered):
        federation.ask(ANY, "survivors", pack_stage(encode(fewer)))


@pytest.mark.parametrize("durable", [False, True])
def test_a_round_is_answered_once(durable: bool, tmp_path) -> None:
    federation = Federation(tmp_path if durable else None, round=4)
    federation.keys()
    with pytest.raises(AlreadyAnswered):
        federation.keys()
    federation.begin(round=3)
    with pytest.raises(StaleRound):
        federation.keys()
    federation.begin(round=5)
    federation.keys()


def test_where_it_has_a_folder_a_client_remembers_across_its_death(tmp_path) -> None:
    Federation(tmp_path).keys()
    with pytest.raises(AlreadyAnswered):
        Federation(tmp_path).keys()  # a new process, with a fresh context
    Federation(tmp_path, run="another").keys()
    assert not any(b"secret" in path.read_bytes() for path in tmp_path.rglob("*.json"))


def test_a_memory_that_cannot_be_read_answers_nothing(tmp_path) -> None:
    Federation(tmp_path).keys()
    (tmp_path / DATA.names[0] / "secure.json").write_text("{")
    with pytest.raises(Malformed):
        Federation(tmp_path, run="another").keys()


def test_a_different_model_for_one_client_is_refused_before_it_trains() -> None:
    federation = Federation().until("masked")
    other = replace(MODEL, parameters=MODEL.parameters + np.float32(1))
    federation.request = pack_train(other, TRAINER.layout, round=1, seed=0, clients=5)
    with pytest.raises(WrongModel):
        federation.ask(ANY, "masked", federation.delivery(ANY))
    federation.request = pack_train(MODEL, TRAINER.layout, round=1, seed=1, clients=5)
    with pytest.raises(WrongModel):
        federation.ask(ANY, "masked", federation.delivery(ANY))
    federation.request = pack_train(MODEL, TRAINER.layout, round=2, seed=0, clients=5)
    with pytest.raises(StaleRound):
        federation.ask(ANY, "masked", federation.delivery(ANY))


def test_an_update_in_the_clear_is_refused() -> None:
    federation = Federation()
    message = flower.instruction(1, "m", 1, federation.request, message_type="train", group_id="1")
    with flower.task_identity(1), pytest.raises(NotMasked):
        federation.app(message, federation.contexts[ANY])


@pytest.mark.parametrize("stage", ["shares", "survivors", "unmask"])
def test_stages_come_in_order(stage: str) -> None:
    federation = Federation()
    with pytest.raises(OutOfOrder):
        federation.ask(ANY, stage, pack_stage(b""))
    federation.until("masked")
    with pytest.raises((OutOfOrder, Malformed)):
        federation.ask(ANY, stage, pack_stage(encode(federation.server.adverts)))


@pytest.mark.parametrize(
    "data", [b"", b"x", b"t\xff\xff\xff\xff", b"t\x00\x00\x00\x0a", encode("text"), encode(())]
)
def test_bytes_that_are_no_message_are_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        decode(Setup, data)
    with pytest.raises(Malformed):
        decode(Setup, encode(Federation().setup) + data + b"x")


def test_when_a_round_has_failed_its_secrets_go() -> None:
    federation = Federation().until("masked")
    federation.ask(ANY, "failed", pack_stage(b"too few"))
    assert "hedgerow.secure.round" not in federation.contexts[ANY].state
    with pytest.raises(OutOfOrder):
        federation.ask(ANY, "masked", federation.delivery(ANY))


def test_states_print_no_secrets() -> None:
    from tests.secure_round import Rehearsal, names

    rehearsal = Rehearsal(names(10)).until("survivors")
    name = "client-001"
    shown = repr(
        [rehearsal.joined[name], rehearsal.shared[name], rehearsal.contributed[name], rehearsal.parties[name]]
    )
    secrets = [
        rehearsal.joined[name].mask_secret,
        rehearsal.shared[name].seed,
        rehearsal.parties[name].secret,
    ]
    assert not any(repr(bytes(secret))[2:-1] in shown for secret in secrets)


# Enrolment


def context(**config) -> Context:
    return Context(1, 1, config, RecordDict(), {})


def test_a_device_enrols_once_and_its_key_is_its_own(tmp_path) -> None:
    public = enrol(tmp_path / "a")
    assert enrol(tmp_path / "a") == public != enrol(tmp_path / "b")
    assert (tmp_path / "a" / "identity.key").stat().st_mode & 0o077 == 0
    (tmp_path / "a" / "register.toml").write_text(f'a = "{public}"\n')
    found = node_enrolment(context(enrolment=str(tmp_path / "a")), "a")
    assert found.pinned == {"a": bytes.fromhex(public)}
    assert not found.trust_on_first_use
    assert found.secret.hex() not in repr(found)


def test_without_enrolment_a_client_takes_no_part(tmp_path) -> None:
    with pytest.raises(UnknownIdentity, match=r"identity\.key and register\.toml"):
        node_enrolment(context(), "a")
    with pytest.raises(Malformed, match="cannot be read"):
        load_enrolment(tmp_path)
    enrol(tmp_path)
    (tmp_path / "register.toml").write_text('a = "12"')
    with pytest.raises(Malformed, match="64 hex digits"):
        load_enrolment(tmp_path)


def test_trust_on_first_use_is_refused_unless_asked_for() -> None:
    with pytest.raises(UnknownIdentity, match="'b' is not enrolled"):
        Register({"a": bytes(32)}).check("b", bytes(32))
    memory = AnsweredRounds(here := {}, None, "a")
    trusting = Register({"a": bytes(32)}, trust_on_first_use=True, learned=memory.learn)
    trusting.check("b", b"1" * 32)
    with pytest.raises(WrongIdentity):
        trusting.check("b", b"2" * 32)
    with pytest.raises(WrongIdentity):
        trusting.check("a", b"1" * 32)
    later = Register(AnsweredRounds(here, None, "a").learned(), trust_on_first_use=True)
    with pytest.raises(WrongIdentity):
        later.check("b", b"2" * 32)


def test_every_refusal_is_documented() -> None:
    kinds = [kind for kind in Refused.__subclasses__() if kind.__module__ == Refused.__module__]
    assert len(kinds) == 26
    assert all(kind.__doc__ for kind in kinds)


def test_a_state_of_nonsense_is_out_of_order() -> None:
    federation = Federation()
    federation.contexts[ANY].state["hedgerow.secure.round"] = ConfigRecord(
        {"state": b"Joined", "done": False, "run": "run", "round": 1}
    )
    with pytest.raises((OutOfOrder, Malformed)):
        federation.ask(ANY, "shares", pack_stage(b""))
