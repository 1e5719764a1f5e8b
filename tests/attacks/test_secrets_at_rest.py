"""What a device keeps: secrets that no log shows, files that nobody else opens, claims that hold."""

import os
import stat
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from flwr.app import Context, Message

from hedgerow.client import account
from hedgerow.client.secure.answered_rounds import SecureMemory
from hedgerow.client.secure.enrolment import KEY, REGISTER, enrol, load_enrolment
from hedgerow.client.secure.register_file import add, fingerprint, load_register, register_line
from hedgerow.client.state import FolderState
from hedgerow.files import PRIVATE, private_folder
from hedgerow.privacy.accounting import Budget
from hedgerow.privacy.events import Gaussian
from hedgerow.privacy.ledger import Ledger, LedgerError
from hedgerow.secure.errors import AlreadyAnswered, BadSignature, Malformed, OutOfOrder, WrongIdentity
from hedgerow.secure.primitives import Secret, identity_key, verify, weak_identity
from hedgerow.secure.register import Register
from hedgerow.server.checkpoint import save_checkpoint
from hedgerow.types import Model, ServerState
from tests.enrolled import STAGES, Enrolled
from tests.support import DIMENSION, LAYOUT

pytestmark = pytest.mark.skipif(os.name != "posix", reason="files have no modes")


@pytest.fixture
def cohort(tmp_path: Path) -> Enrolled:
    return Enrolled(tmp_path)


@pytest.fixture(params=[0o000, 0o077], ids=["umask 000", "umask 077"])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


# Claims


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_is_answered_once_also_after_the_device_has_lost_its_memory(cohort, stage) -> None:
    cohort.until(stage)
    device = cohort.devices[0]
    before = cohort.kept(device)
    cohort.ask(device, stage)
    cohort.put_back(device, before)  # two messages at once, or a context from before the answer
    with pytest.raises(OutOfOrder if stage == "unmask" else AlreadyAnswered):
        cohort.ask(device, stage)


def test_two_lists_of_survivors_at_the_same_time_give_one_signature(cohort) -> None:
    cohort.until("survivors")
    device = cohort.devices[0]
    content = cohort.content(device, "survivors")
    answers: list[object] = []
    ready = threading.Barrier(2)

    def ask(message: Message, context: Context) -> None:
        ready.wait()
        try:
            answers.append(cohort.app(message, context))
        except AlreadyAnswered as error:
            answers.append(error)

    threads = [
        threading.Thread(target=ask, args=(cohort.message("survivors", content), cohort.copy(device)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(type(answer).__name__ for answer in answers) == ["AlreadyAnswered", "Message"]


def test_what_an_enrolled_device_remembers_lies_in_its_enrolment(cohort) -> None:
    cohort.until("shares")
    for device in cohort.devices:
        (file,) = (cohort.home / device).rglob("secure.json")
        assert file.stat().st_mode & 0o777 == PRIVATE
        assert file.parent.stat().st_mode & 0o777 == 0o700
    # A new process, with nothing in memory.
    with pytest.raises(AlreadyAnswered):
        Enrolled(cohort.home).until("shares")


def test_first_keys_hold_in_many_threads_at_once(tmp_path) -> None:
    memory = SecureMemory({}, tmp_path, "a")
    threads = [threading.Thread(target=lambda i=i: memory.learn(str(i), bytes([i] * 32))) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(memory.learned()) == 8


def test_a_salt_is_of_one_round_so_that_no_key_seals_twice(tmp_path) -> None:
    memory = SecureMemory({}, tmp_path, "a")
    salts = [memory.join(*joined) for joined in (("run", 1), ("new", 1), ("run", 2))]
    assert len(set(salts)) == 3
    assert memory.salt("run", 2) == salts[-1]
    for ended in (("run", 1), ("new", 1), ("run", 3)):
        with pytest.raises(OutOfOrder, match="nothing is left"):
            memory.salt(*ended)


@pytest.mark.parametrize("text", ["{", "[]", '{"runs": {"a": 3}}', '{"runs": {}, "keys": {}}', "null"])
def test_a_memory_of_another_kind_answers_nothing(cohort, text) -> None:
    folder = private_folder(cohort.home / cohort.devices[0] / cohort.devices[0])
    (folder / "secure.json").write_text(text)
    with pytest.raises(Malformed):
        cohort.ask(cohort.devices[0], "keys")


# Secrets


def told(error: BaseException) -> str:
    """What a logger shows that prints the variables of each frame too; without the test's own."""
    assert error.__traceback__ is not None
    below = error.__traceback__.tb_next
    return "".join(traceback.TracebackException(type(error), error, below, capture_locals=True).format())


@pytest.mark.parametrize("stage", STAGES)
def test_neither_a_context_nor_an_error_nor_a_log_shows_a_secret(cohort, stage, caplog) -> None:
    cohort.until(stage)
    device = cohort.devices[0]
    shown = [repr(cohort.contexts[device]), str(cohort.contexts[device])]
    for wrong in cohort.wrong_messages(stage):
        try:
            cohort.app(wrong, cohort.contexts[device])
        except Exception as error:
            shown += [told(error), repr(error)]
    secrets = cohort.secrets(device)
    assert len(secrets) >= {"keys": 1, "unmask": 1}.get(stage, 3)
    for secret in secrets:
        for text in (*shown, caplog.text):
            assert repr(bytes(secret))[2:-1] not in text
            assert bytes(secret).hex() not in text
    assert len(shown) > 3


def test_what_cannot_be_opened_tells_nothing_of_a_key_file(tmp_path) -> None:
    enrol(tmp_path)
    good = (tmp_path / KEY).read_text().strip()
    for text in (good[:-1] + "x", good[:-2], good + "é", "0" * 64, "f" * 64):
        (tmp_path / KEY).write_text(text)
        with pytest.raises(Malformed, match="holds no secret key") as caught:
            load_enrolment(tmp_path)
        assert text[:40] not in told(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None


def test_a_secret_prints_as_its_length() -> None:
    secret = Secret(b"canary")
    assert {repr(secret), str(secret), f"{secret}", f"{secret!r}"} == {"Secret(6 bytes)"}
    assert secret == b"canary"


@pytest.mark.parametrize("how", ["failed", "another round", "another run"])
def test_an_abandoned_round_leaves_nothing_that_opens_its_shares(cohort, how) -> None:
    cohort.until("unmask")
    device = cohort.devices[0]
    copy, content = cohort.kept(device), cohort.content(device, "unmask")  # as somebody found them
    if how == "failed":
        cohort.ask(device, "failed")
    else:
        cohort.begin(*((2, "run") if how == "another round" else (1, "new")))
        cohort.ask(device, "keys", cohort.context(device) if how == "another run" else None)
    cohort.put_back(device, copy)
    with pytest.raises(OutOfOrder):
        cohort.app(cohort.message("unmask", content), cohort.contexts[device])


def test_a_late_word_that_an_old_run_has_failed_ends_no_round_of_a_new_one(cohort) -> None:
    cohort.until("shares")
    device = cohort.devices[0]
    old = cohort.copy(device)
    cohort.begin(1, "new")
    cohort.contexts = {name: cohort.context(name) for name in cohort.devices}
    cohort.until("shares")
    cohort.ask(device, "failed", old)
    cohort.ask(device, "shares")


# Files


def test_private_files_are_their_owners_whatever_the_umask(tmp_path, umask) -> None:
    enrol(tmp_path / "device")
    FolderState(tmp_path / "clients", "a").save(1, {"pipeline": {"residual": np.zeros(3, np.float32)}})
    Ledger(Budget(1e-5), FolderState(tmp_path / "accounts", "a").file("privacy.jsonl")).record(
        1, Gaussian(1.0), "a sum", noise="system"
    )
    SecureMemory({}, tmp_path / "device", "a").join("run", 1)
    model = Model(np.zeros(DIMENSION, np.float32))
    save_checkpoint(tmp_path / "run" / "checkpoints", ServerState(1, model, {}), LAYOUT, seed=0)
    found = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(found) == 6
    for file in found:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
        for folder in file.parents[: len(file.relative_to(tmp_path).parts) - 1]:
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700, folder


def test_files_that_were_open_to_others_are_closed_when_they_are_written(tmp_path) -> None:
    folder = tmp_path / "a"
    folder.mkdir(mode=0o755)
    (folder / "privacy.jsonl").touch(mode=0o644)
    Ledger(Budget(1e-5), FolderState(tmp_path, "a").file("privacy.jsonl")).record(
        1, Gaussian(1.0), "a sum", noise="system"
    )
    assert stat.S_IMODE((folder / "privacy.jsonl").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o660, 0o602, 0o666, 0o620])
def test_a_register_that_others_can_write_is_refused(tmp_path, mode) -> None:
    enrol(tmp_path)
    (tmp_path / REGISTER).write_text(register_line("a", identity_key(b"a" * 32)))
    (tmp_path / REGISTER).chmod(mode)
    with pytest.raises(Malformed, match=f"register.toml has mode {mode:04o}.*chmod go-w"):
        load_enrolment(tmp_path)
    with pytest.raises(Malformed, match="chmod go-w"):
        add(tmp_path / REGISTER, [register_line("b", identity_key(b"b" * 32))])
    (tmp_path / REGISTER).chmod(mode & ~0o022)
    assert list(load_enrolment(tmp_path).pinned) == ["a"]


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777, 0o1777])
def test_a_folder_that_others_can_write_is_refused(tmp_path, mode) -> None:
    enrol(tmp_path / "device")
    (tmp_path / "device").chmod(mode)
    for act in (load_enrolment, enrol):
        with pytest.raises(Malformed, match=f"device has mode {mode:04o}.*chmod go-w"):
            act(tmp_path / "device")


def test_so_is_one_above_it_and_one_on_the_way_of_a_link(tmp_path) -> None:
    home, links = tmp_path / "home", tmp_path / "links"
    links.mkdir()
    enrol(home / "deep" / "device")
    (links / "device").symlink_to(home / "deep" / "device")
    load_enrolment(links / "device")
    home.chmod(0o777)
    for folder in (home / "deep" / "device", links / "device"):
        with pytest.raises(Malformed, match="home has mode 0777"):
            load_enrolment(folder)
    home.chmod(0o1777)  # sticky, as /tmp is: others cannot rename what is not theirs
    load_enrolment(home / "deep" / "device")
    home.chmod(0o700)
    links.chmod(0o777)
    with pytest.raises(Malformed, match="links has mode 0777"):
        load_enrolment(links / "device")


def test_an_account_that_others_could_set_back_is_refused(tmp_path) -> None:
    file = private_folder(tmp_path / "accounts") / "privacy-samples.jsonl"
    assert account.require_file(file, seeded=False) == file
    (tmp_path / "accounts").chmod(0o777)
    with pytest.raises(LedgerError, match="accounts has mode 0777"):
        account.require_file(file, seeded=False)


@pytest.mark.skipif(os.geteuid() != 0 if os.name == "posix" else True, reason="only root can give files away")
def test_a_register_of_another_user_is_refused(tmp_path) -> None:
    enrol(tmp_path)
    (tmp_path / REGISTER).write_text("")
    os.chown(tmp_path / REGISTER, 12345, -1)
    with pytest.raises(Malformed, match="belongs to another user"):
        load_enrolment(tmp_path)


def test_a_register_is_written_so_that_it_can_be_read_again(tmp_path, umask) -> None:
    add(tmp_path / REGISTER, [register_line("a", identity_key(b"a" * 32))])
    assert list(load_register(tmp_path / REGISTER)) == ["a"]
    assert stat.S_IMODE((tmp_path / REGISTER).stat().st_mode) == 0o644


# Keys

P = 2**255 - 19
EIGHTH = int.from_bytes(
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"
)
LOW = [
    (y | sign << 255).to_bytes(32, "little")
    for y in (0, 1, P - 1, EIGHTH, P - EIGHTH, P, P + 1)
    for sign in (0, 1)
]


def forged(public: bytes) -> bytes | None:
    """A signature made without a secret key: the point (sB, s), for some small s."""
    for s in range(1, 40):
        scalar = s.to_bytes(32, "little")
        signature = POINTS[s] + scalar
        try:
            Ed25519PublicKey.from_public_bytes(public).verify(signature, b"message")
        except Exception:
            continue
        return signature
    return None


def multiples() -> dict[int, bytes]:
    """`sB` by the addition law of RFC 8032, section 5.1.4, in slow and plain integers."""
    d = -121665 * pow(121666, -1, P) % P
    by = 4 * pow(5, -1, P) % P
    bx = 15112221349535400772501151409588531511454012693041857206046113283949847762202
    x, y, found = bx, by, {}
    for s in range(1, 40):
        found[s] = (y | (x & 1) << 255).to_bytes(32, "little")
        t = d * x * bx * y * by % P
        x, y = (
            (x * by + y * bx) * pow(1 + t, -1, P) % P,
            (y * by + x * bx) * pow(1 - t, -1, P) % P,
        )
    return found


POINTS = multiples()


@pytest.mark.parametrize("public", LOW, ids=lambda key: key.hex()[:6] + key.hex()[-4:])
def test_a_key_that_anybody_can_sign_for_is_refused_everywhere(public, tmp_path) -> None:
    assert weak_identity(public)
    if (signature := forged(public)) is not None:
        with pytest.raises(BadSignature, match="weak"):
            verify(public, signature, b"message", "a")
    (tmp_path / REGISTER).write_text(f'a = "{public.hex()}"\n')
    with pytest.raises(Malformed, match="anybody can sign"):
        load_register(tmp_path / REGISTER)
    with pytest.raises(ValueError, match="anybody can sign"):
        add(tmp_path / "new.toml", [register_line("a", public)])
    with pytest.raises(WrongIdentity, match="weak"):
        Register({}, trust_on_first_use=True).check("a", public)


def test_such_forgeries_work_and_honest_keys_are_not_weak() -> None:
    assert sum(forged(public) is not None for public in LOW) >= 8, "without this the test above shows nothing"
    assert not any(weak_identity(identity_key(i.to_bytes(32, "big"))) for i in range(1, 50))


def test_a_fingerprint_has_128_bits_and_tells_every_change() -> None:
    keys = [identity_key(bytes([i]) * 32) for i in range(1, 4)]
    registers = [{"a": keys[0]}, {"b": keys[0]}, {"a": keys[1]}, {"a": keys[0], "b": keys[1]}, {}]
    found = {fingerprint(register) for register in registers}
    assert len(found) == len(registers)
    assert {len(bytes.fromhex(text)) for text in found} == {16}
    assert fingerprint({"a": keys[0], "b": keys[1]}) == fingerprint({"b": keys[1], "a": keys[0]})


def test_a_device_whose_key_is_not_the_one_that_is_enrolled_joins_nothing(cohort) -> None:
    device = cohort.devices[0]
    (cohort.home / device / KEY).unlink()
    enrol(cohort.home / device)
    with pytest.raises(WrongIdentity):
        cohort.ask(device, "keys")
    assert not list((cohort.home / device).rglob("secure.json"))
