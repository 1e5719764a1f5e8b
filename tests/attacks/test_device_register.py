"""A device takes no register but its administrator's, and no older one; an administrator can hand over."""

import pytest

from hedgerow.client.secure.enrolment import REGISTER
from hedgerow.client.secure.register_file import load_register
from hedgerow.client.secure.signed_register import appoint, head, sign, verify
from hedgerow.node.identities import take_register
from hedgerow.node.kit import Kit
from hedgerow.secure.errors import Malformed
from hedgerow.secure.primitives import Secret, identity_key

FEDERATION = "0123456789abcdef"
FIRST, SECOND, THIRD, FOREIGN = (Secret(bytes([number]) * 32) for number in range(1, 5))
TEXT = f'kitchen = "{identity_key(bytes([9]) * 32).hex()}"\n'


def public(key: Secret) -> str:
    return identity_key(key).hex()


def kit(administrator: str | None) -> Kit:
    return Kit(FEDERATION, "kitchen", "https://127.0.0.1:1", administrator=administrator)


def signed(key: Secret, version: int, text: str = TEXT, federation: str = FEDERATION) -> str:
    return sign(text, key, version=version, federation=federation)


def answer(text: str | None, trust: str = "signed") -> dict[str, object]:
    return {"register": text, "trust": trust}


def handed_over(text: str, old: Secret, new: Secret, version: int) -> str:
    """The next version, by an administrator that the one before has appointed."""
    return sign(appoint(text, old, new), new, version=version, federation=FEDERATION)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (head(3, FEDERATION) + TEXT, "it is not signed"),
        (None, "no longer gives a signed register"),
        (signed(FOREIGN, 3), "the administrator is"),
        (signed(FIRST, 1), "the present one has version 2"),
        (signed(FIRST, 3, federation="f" * 16), "is of federation"),
        (signed(FIRST, 3).replace("version 3", "version 4"), "is invalid"),
        (signed(FIRST, 3, TEXT.replace("kitchen", "shed")).replace("shed", "barn"), "is invalid"),
    ],
)
def test_a_register_that_the_administrator_has_not_signed_last_changes_nothing(tmp_path, given, says):
    known = kit(public(FIRST))
    assert take_register(tmp_path, known, answer(signed(FIRST, 2))) == public(FIRST)
    before = (tmp_path / REGISTER).read_text()
    for trust in ("signed", "first-use"):
        with pytest.raises(Malformed, match=says):
            take_register(tmp_path, known, answer(given, trust))
    assert (tmp_path / REGISTER).read_text() == before


def test_an_administrator_hands_over_once_and_for_all_also_to_devices_that_were_away(tmp_path):
    second = handed_over(signed(FIRST, 1), FIRST, SECOND, 2)
    third = handed_over(second, SECOND, THIRD, 3)
    assert take_register(tmp_path, kit(public(FIRST)), answer(third)) == public(THIRD), "it missed version 2"
    assert set(load_register(tmp_path / REGISTER)) == {"kitchen"}
    for old in (FIRST, SECOND):
        with pytest.raises(Malformed, match="the administrator is"):
            verify(sign(third, old, version=4, federation=FEDERATION), public(THIRD))
    assert verify(sign(third, THIRD, version=4, federation=FEDERATION), public(FIRST)).version == 4


def test_nobody_appoints_who_is_not_the_administrator(tmp_path):
    forged = handed_over(signed(FIRST, 1), FOREIGN, SECOND, 2)
    with pytest.raises(Malformed, match="the administrator is"):
        verify(forged, public(FIRST))
    good = handed_over(signed(FIRST, 1), FIRST, SECOND, 2)
    moved = sign(good, SECOND, version=2, federation="f" * 16)
    with pytest.raises(Malformed, match="the administrator is"):
        verify(moved, public(FIRST))
    changed = good.replace(public(SECOND), public(FOREIGN))
    with pytest.raises(Malformed):
        verify(changed, public(FIRST))
    line = next(line for line in good.splitlines() if "appointed by" in line)
    stolen = sign(
        f"{line.replace(public(SECOND), public(FOREIGN))}\n{TEXT}", FOREIGN, version=3, federation=FEDERATION
    )
    with pytest.raises(Malformed, match="the administrator is"):
        verify(stolen, public(FIRST))
