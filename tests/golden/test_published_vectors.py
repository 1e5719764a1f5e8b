"""Published vectors through our own wrappers: RFC 7748, 5869 and 8032, NIST SP 800-38A, Shamir's scheme."""

from itertools import combinations

import numpy as np
import pytest

from hedgerow.secure.errors import BadShare, BadSignature, KeysChanged
from hedgerow.secure.primitives import (
    Agreement,
    Keystream,
    derive,
    identity_key,
    open_sealed,
    seal,
    sign,
    verify,
)
from hedgerow.secure.shamir import PRIME, combine, evaluate, interpolate, split
from tests.secure_round import stream

ALICE = "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"
BOB = "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"


def test_x25519_of_rfc_7748_section_6_1() -> None:
    alice, bob = (Agreement(bytes.fromhex(secret)) for secret in (ALICE, BOB))
    assert alice.public.hex() == "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    assert bob.public.hex() == "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
    shared = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
    assert alice.with_(bob.public).hex() == bob.with_(alice.public).hex() == shared


@pytest.mark.parametrize("low", [bytes(32), bytes([1, *bytes(31)])])
def test_x25519_refuses_keys_of_low_order(low: bytes) -> None:
    with pytest.raises(KeysChanged, match="low order"):
        Agreement(bytes.fromhex(ALICE)).with_(low)


@pytest.mark.parametrize(
    ("secret", "salt", "info", "output"),
    [
        (
            "0b" * 22,
            "000102030405060708090a0b0c",
            "f0f1f2f3f4f5f6f7f8f9",
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ),
        (
            "0b" * 22,
            "",
            "",
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
        ),
    ],
    ids=["case 1", "case 3"],
)
def test_hkdf_sha256_of_rfc_5869_appendix_a(secret: str, salt: str, info: str, output: str) -> None:
    made = derive(bytes.fromhex(secret), bytes.fromhex(info), len(output) // 2, bytes.fromhex(salt))
    assert made.hex() == output


@pytest.mark.parametrize(
    ("secret", "public", "message", "signature"),
    [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555"
            "fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
            "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
    ],
    ids=["test 1", "test 2"],
)
def test_ed25519_of_rfc_8032_section_7_1(secret: str, public: str, message: str, signature: str) -> None:
    assert identity_key(bytes.fromhex(secret)).hex() == public
    assert sign(bytes.fromhex(secret), bytes.fromhex(message)).hex() == signature
    verify(bytes.fromhex(public), bytes.fromhex(signature), bytes.fromhex(message), "a")
    with pytest.raises(BadSignature, match="'a'"):
        verify(bytes.fromhex(public), bytes.fromhex(signature), b"another message", "a")


def test_aes_ctr_of_nist_sp_800_38a_appendix_f_5_1() -> None:
    plain = np.frombuffer(
        bytes.fromhex(
            "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
            "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
        ),
        np.uint8,
    )
    key, counter = "2b7e151628aed2a6abf7158809cf4f3c", "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"
    keystream = Keystream(64)
    for _ in range(2):  # into the same buffer again
        made = keystream.of(bytes.fromhex(key), bytes.fromhex(counter)) ^ plain
        assert made.tobytes().hex() == (
            "874d6191b620e3261bef6864990db6ce9806f66b7970fdff8617187bb9fffdff"
            "5ae4df3edbd5d35e5b4f09020db03eab1e031dda2fbe03d1792170a0f3009cee"
        )


@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 1000])
def test_a_keystream_of_any_length_is_the_start_of_a_longer_one(length: int) -> None:
    key = bytes(range(16))
    assert Keystream(length).of(key).tobytes() == Keystream(1100).of(key).tobytes()[:length]


def test_what_is_sealed_opens_only_with_its_key_and_what_it_is_bound_to() -> None:
    sealed = seal(bytes(16), b"a share", b"round 1")
    assert open_sealed(bytes(16), sealed, b"round 1", "a") == b"a share"
    for key, data, bound in (
        (bytes(15) + b"1", sealed, b"round 1"),
        (bytes(16), sealed[:-1] + bytes([sealed[-1] ^ 1]), b"round 1"),
        (bytes(16), sealed, b"round 2"),
        (bytes(16), b"", b"round 1"),
    ):
        with pytest.raises(BadShare, match="'a'"):
            open_sealed(key, data, bound, "a")


GOLDEN = [
    "0085ca586f5bb961d4c8143f481d556c678296444d03be4a46ed6e07614781d22b",
    "000b93aedbb36dbda2881f74852e9dcabff51b7686f3677e76c2c2f4a772e6850e",
    "00a8825ef969f388a748577eb68507a27a31b571a8a1b58365ed6b97064bde06f8",
]

# The worked example of the article "Shamir's secret sharing" in Wikipedia: 1234 + 166 x + 94 x^2 modulo 1613.
EXAMPLE = {1: 1494, 2: 329, 3: 965, 4: 176, 5: 1188, 6: 775}


def test_shamir_of_the_published_example() -> None:
    assert {x: evaluate([1234, 166, 94], x, prime=1613) for x in EXAMPLE} == EXAMPLE
    for chosen in combinations(EXAMPLE, 3):
        assert interpolate({x: EXAMPLE[x] for x in chosen}, prime=1613) == 1234


def test_shamir_of_32_byte_secrets_is_what_it_was() -> None:
    secret = bytes(range(32))
    shares = split(secret, [1, 2, 7], 2, stream("shamir"))
    assert [share.hex() for share in shares] == GOLDEN
    for one, two in combinations(zip([1, 2, 7], shares, strict=True), 2):
        assert combine(dict([one, two])) == secret


@pytest.mark.parametrize("secret", [bytes(32), b"\xff" * 32])
def test_shamir_holds_every_32_byte_secret(secret: bytes) -> None:
    assert PRIME > 2**256
    shares = dict(enumerate(split(secret, range(1, 42), 21, stream("all")), 1))
    assert combine({x: shares[x] for x in range(21, 42)}) == secret
    assert combine({x: shares[x] for x in range(22, 42)}) != secret


@pytest.mark.parametrize(("places", "threshold"), [([0, 1], 1), ([1, 1], 1), ([1, 2], 3), ([1, 2], 0)])
def test_shamir_refuses_places_that_would_give_the_secret_away(places: list[int], threshold: int) -> None:
    with pytest.raises(ValueError, match="different whole numbers above 0"):
        split(bytes(32), places, threshold, stream("x"))
