"""An invitation for several phones: as many as it says, for as long as it says, and by its token alone."""

import base64
import json
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from hedgerow.coordinator.folder import FederationFolder
from hedgerow.coordinator.gateway import Gateway
from hedgerow.coordinator.join_request import JoinRefused
from hedgerow.coordinator.members import changed_members, invite, join, leave, load_members
from hedgerow.coordinator.phones import end_invitation, invite_phones, lets_in, page_address
from tests.attacks.gateways import Raw, gateway, public


@pytest.fixture
def folder(tmp_path) -> FederationFolder:
    return FederationFolder.make(tmp_path / "federation")


def request(token: str, key: str = "", name: str | None = "", identity: str = "") -> dict[str, str | None]:
    """What a phone sends, with a key of its own unless one is given."""
    made = key or public(ec.generate_private_key(ec.SECP384R1()))
    return {"hedgerow": "0.1.0", "name": name, "token": token, "node_key": made, "identity": identity}


def let_in(folder: FederationFolder, asked: dict[str, str | None]) -> str:
    return join(folder, asked, lambda key, name: 7)[0]


def refused(folder: FederationFolder, asked: dict[str, str | None], says: str, status: int = 403) -> None:
    before = load_members(folder)
    with pytest.raises(JoinRefused, match=says) as caught:
        let_in(folder, asked)
    assert caught.value.status == status
    assert load_members(folder) == before


def test_as_many_phones_join_as_were_invited_each_by_its_own_name_and_no_more(folder):
    token = invite_phones(folder, 3)
    assert [let_in(folder, request(token)) for _ in range(3)] == ["phone-1", "phone-2", "phone-3"]
    assert all(device.phone for device in load_members(folder).devices.values())
    refused(folder, request(token), "as many phones have joined as were invited")


def test_a_phone_that_asks_again_gets_the_same_answer_and_takes_no_second_place(folder):
    token = invite_phones(folder, 2)
    asked = request(token)
    assert [let_in(folder, asked) for _ in range(5)] == ["phone-1"] * 5
    assert load_members(folder).places == 1
    let_in(folder, request(token))
    assert let_in(folder, asked) == "phone-1", "also when nobody else can join any more"


def test_what_was_replayed_with_another_key_or_token_gets_in_as_nobody_else(folder):
    token = invite_phones(folder, 5)
    first = request(token, identity="ab" * 32)
    let_in(folder, first)
    refused(folder, {**request(token), "identity": "ab" * 32}, "belongs to 'phone-1'", 409)
    refused(folder, {**first, "token": invite_phones(folder, 5)}, "belongs to 'phone-1'", 409)
    refused(folder, {**first, "name": "phone-1"}, "not valid for this name")
    refused(folder, {**request(token), "name": "kitchen"}, "not valid for this name")


def test_a_token_that_is_wrong_or_of_a_kit_lets_no_phone_in(folder, tmp_path):
    invite_phones(folder, 5)
    kit = json.loads(invite(folder, "kitchen", tmp_path).read_text())["token"]
    guessed = base64.urlsafe_b64encode(secrets.token_bytes(18)).decode()
    for token in (guessed, "", kit):
        refused(folder, request(token), "not valid for this name")
    assert load_members(folder).places == 5


@pytest.mark.parametrize("name", [None, ""])
def test_a_kit_is_of_no_use_without_its_name(folder, tmp_path, name):
    kit = json.loads(invite(folder, "kitchen", tmp_path).read_text())["token"]
    refused(folder, request(kit, name=name), "not valid for this name")


def test_after_its_end_an_invitation_lets_nobody_in(folder):
    token = invite_phones(folder, 5, hours=1.0)
    with changed_members(folder) as members:
        assert members.open is not None
        assert members.open.ends == pytest.approx(time.time() + 3600, abs=60)
        members.open = replace(members.open, ends=time.time())
    refused(folder, request(token), "the invitation for phones has ended")
    assert load_members(folder).places == 0


def test_an_invitation_that_was_revoked_or_replaced_lets_nobody_in(folder):
    first = invite_phones(folder, 5)
    second = invite_phones(folder, 5)
    refused(folder, request(first), "used, replaced or revoked")
    assert let_in(folder, request(second)) == "phone-1"
    end_invitation(folder)
    refused(folder, request(second), "used, replaced or revoked")
    assert "phone-1" in load_members(folder).devices, "who has joined stays"


def test_a_phone_that_was_revoked_is_out_and_its_name_is_not_given_again(folder):
    token = invite_phones(folder, 3)
    asked = request(token)
    let_in(folder, asked)
    leave(folder, "phone-1")
    assert load_members(folder).gone == [7]
    assert let_in(folder, asked) == "phone-2", "while the invitation is open: revoke that too"


def test_a_name_that_a_kit_has_is_given_to_no_phone(folder, tmp_path):
    invite(folder, "phone-1", tmp_path)
    token = invite_phones(folder, 2)
    assert [let_in(folder, request(token)) for _ in range(2)] == ["phone-2", "phone-3"]


def test_who_is_not_registered_by_the_superlink_takes_no_place(folder):
    token = invite_phones(folder, 1)

    def fails(key: bytes, name: str) -> int:
        raise ConnectionError("no SuperLink")

    with pytest.raises(ConnectionError):
        join(folder, request(token), fails)
    assert let_in(folder, request(token)) == "phone-1"


def at_once(calls: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_of_phones_that_ask_at_the_same_time_no_more_get_in_and_no_two_by_one_name(folder):
    token, names, refusals = invite_phones(folder, 3), [], []

    def ask(asked: dict[str, str | None]) -> None:
        try:
            names.append(let_in(folder, asked))
        except JoinRefused as error:
            refusals.append(str(error))

    at_once([partial(ask, request(token)) for _ in range(8)])
    assert sorted(names) == ["phone-1", "phone-2", "phone-3"]
    assert len(refusals) == 5


def test_the_gateway_tells_a_phone_its_name_and_its_federation(folder, monkeypatch):
    monkeypatch.setattr(Gateway, "_register_node", lambda self, key, name: 2**63)
    asked = request(invite_phones(folder, 1), identity="ab" * 32)
    with gateway(folder) as port:
        raw = Raw(folder, port)
        raw.send("POST", "/join", body=json.dumps(asked).encode())
        status, _, body = raw.reply()
        assert status == 200
        assert json.loads(body) == {
            "name": "phone-1", "federation": folder.settings.federation, "node_id": 2**63,
            "trust": "first-use", "register": (folder.path / "register.toml").read_text(),
        }  # fmt: skip
        assert raw.ask("POST", "/join", body=json.dumps(request(str(asked["token"]))).encode()) == 403
        raw.socket.close()


def test_the_token_is_in_no_file_and_in_no_request_by_the_address_of_the_page(folder):
    token = invite_phones(folder, 3)
    address = page_address(folder, token)
    place, _, hidden = address.partition("#")
    assert place == f"{folder.settings.address}/phone/"
    invitation = json.loads(base64.urlsafe_b64decode(hidden + "=" * (-len(hidden) % 4)))
    assert invitation == {"address": folder.settings.address, "token": token}
    for file in folder.path.rglob("*"):
        if file.is_file():
            assert token not in file.read_text()
            assert not file.stat().st_mode & 0o077, file
    assert lets_in(load_members(folder).open, address)
    for other in ("", place, f"{place}#", f"{place}#e30", f"{address}A", page_address(folder, "A" * 24)):
        assert not lets_in(load_members(folder).open, other)


def test_the_address_names_the_administrator_and_the_page_elsewhere(folder):
    folder.save(replace(folder.settings, administrator="ab" * 32))
    address = page_address(folder, "A" * 24, ["https://pages.example/hedgerow/"])
    place, _, hidden = address.partition("#")
    assert place == "https://pages.example/hedgerow/"
    assert json.loads(base64.urlsafe_b64decode(hidden + "=="))["administrator"] == "ab" * 32
