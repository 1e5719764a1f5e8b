"""A device that has seen a signed register goes back to no earlier, other or unsigned one."""

from dataclasses import replace
from pathlib import Path

import pytest

from hedgerow.client.secure.signed_register import head, sign, verify
from hedgerow.node.identities import take_register
from hedgerow.node.kit import Kit
from hedgerow.secure.errors import Malformed
from hedgerow.secure.primitives import Secret, identity_key

FEDERATION = "0123456789abcdef"
LINES = f'kitchen = "{"9f" * 32}"\n'
KEY, ANOTHER = Secret(bytes(range(32))), Secret(bytes(range(1, 33)))
ADMINISTRATOR = identity_key(KEY).hex()


def signed(version: int, secret: Secret = KEY, federation: str = FEDERATION, lines: str = LINES) -> str:
    return sign(lines, secret, version=version, federation=federation)


def answer(text: str | None, trust: str = "signed") -> dict[str, object]:
    return {"register": text, "trust": trust, "version": 0, "administrator": None}


@pytest.fixture
def kit() -> Kit:
    return Kit(FEDERATION, "kitchen", "https://localhost:1", token="t")


@pytest.fixture
def seen(tmp_path: Path, kit: Kit) -> Kit:
    """The kit of a device that has taken version 3."""
    administrator = take_register(tmp_path, kit, answer(signed(3)))
    assert administrator == ADMINISTRATOR
    return replace(kit, administrator=administrator)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (answer(signed(2)), "version 2; the present one has version 3"),
        (
            answer(signed(3, lines=LINES + f'shed = "{"8e" * 32}"\n')),
            "version 3; the present one has version 3",
        ),
        (answer(head(0, FEDERATION) + LINES, "first-use"), "it is not signed"),
        (answer(head(9, FEDERATION) + LINES), "it is not signed"),
        (answer(None, "first-use"), "no longer gives a signed register"),
        (answer("", "signed"), "no longer gives a signed register"),
        ({}, "no longer gives a signed register"),
        (answer(signed(4, ANOTHER)), "the administrator is"),
        (answer(signed(4, federation="f" * 16)), "of federation ffff"),
        (answer(signed(4).replace("9f9f", "9f9e", 1)), "is invalid"),
        (answer(signed(4).replace("version 4", "version 5")), "is invalid"),
    ],
)
def test_what_would_take_a_device_back_is_refused_and_what_is_here_stays(tmp_path, seen, given, why):
    before = (tmp_path / "register.toml").read_bytes()
    with pytest.raises(Malformed, match=why):
        take_register(tmp_path, seen, given)
    assert (tmp_path / "register.toml").read_bytes() == before


def test_a_later_version_of_the_same_administrator_takes_its_place_and_the_same_one_stays(tmp_path, seen):
    assert take_register(tmp_path, seen, answer(signed(3))) == ADMINISTRATOR
    take_register(tmp_path, seen, answer(signed(4)))
    assert verify((tmp_path / "register.toml").read_text(), ADMINISTRATOR).version == 4


def test_a_kit_that_names_its_administrator_takes_no_first_one_of_another(tmp_path, kit):
    named = replace(kit, administrator=ADMINISTRATOR)
    for given in (answer(signed(1, ANOTHER)), answer(head(0, FEDERATION) + LINES, "first-use"), answer(None)):
        with pytest.raises(Malformed):
            take_register(tmp_path, named, given)
    assert not (tmp_path / "register.toml").exists()


def test_before_anybody_has_signed_a_device_keeps_no_register(tmp_path, kit):
    assert take_register(tmp_path, kit, answer(head(0, FEDERATION) + LINES, "first-use")) is None
    assert not (tmp_path / "register.toml").exists()
