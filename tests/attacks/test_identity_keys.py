"""Keys that anybody can sign for are refused, and a fingerprint tells every change of a register."""

import os

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from hedgerow.client.secure.enrolment import KEY, REGISTER, enrol
from hedgerow.client.secure.register_file import add, fingerprint, load_register, register_line
from hedgerow.secure.errors import BadSignature, Malformed, WrongIdentity
from hedgerow.secure.primitives import identity_key, verify, weak_identity
from hedgerow.secure.register import Register

pytestmark = pytest.mark.skipif(os.name != "posix", reason="files have no modes")

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
