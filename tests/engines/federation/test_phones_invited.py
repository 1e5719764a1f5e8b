"""`hedgerow up --phones` with its real processes: what it tells, serves and shows, and whom it lets in."""

import base64
import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from hedgerow.coordinator.phone_build import NoBuild, build_folder, load
from hedgerow.coordinator.phones import PATH
from tests.attacks.gateways import Raw, public, signed
from tests.engines.federation.coordinated import Coordinated, coordinated
from tests.engines.federation.devices import RECIPE
from tests.engines.federation.processes import _free_ports
from tests.engines.operated.devices import page_address

OVERRIDES = ["run.trainer=loop", "rounds=1", "--graphs", "graphs"]
CODE = r"https://\S+/phone/#([\w-]+)"


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coordinated]:
    try:
        load(build_folder())
    except NoBuild as error:
        pytest.skip(f"NO PAGE: nobody was invited to it: {error}")
    home = tmp_path_factory.mktemp("invited")
    (home / "clinics.toml").write_text(RECIPE)
    with coordinated(home, "clinics.toml", OVERRIDES, _free_ports(1)[0]) as made:
        made.command("export", "clinics.toml", *OVERRIDES[:2], "--out", "graphs")
        made.overrides = [*OVERRIDES, "--phones", "2"]
        made.start()
        made.wait(lambda: re.search(CODE, made.said), "code")
        yield made


def token(said: str) -> str:
    """Of the newest code."""
    hidden = re.findall(CODE, said)[-1]
    return str(json.loads(base64.urlsafe_b64decode(hidden + "=" * (-len(hidden) % 4)))["token"])


def asked(
    real: Coordinated, method: str, path: str, body: object = None, **headers: str
) -> tuple[int, bytes]:
    raw = Raw(real.folder, real.port)
    raw.send(method, path, headers, b"" if body is None else json.dumps(body).encode())
    status, _, answer = raw.reply()
    raw.socket.close()
    return status, answer


def joins(real: Coordinated, given: str) -> tuple[int, bytes, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP384R1())
    request = {"hedgerow": "0.1.0", "name": "", "token": given, "node_key": public(key), "identity": ""}
    return *asked(real, "POST", "/join", request), key


def test_phones_come_by_the_code_and_are_ended_by_their_names(real):
    said, build = real.said, load(build_folder()).hash
    assert f"page for phones: build {build}" in said
    assert "phones learn to tell no, yes apart by age, pressure, in 1 round of 'clinics'" in said
    assert "install " in said
    assert "▄" in said, "the code is drawn"
    assert json.loads(asked(real, "GET", f"{PATH}about.json")[1])["build"] == build
    assert asked(real, "GET", PATH)[1].startswith(b"<!doctype html>")
    assert code_shown(real) == (200, b"<svg")
    assert code_shown(real, token="x") == (403, b"")
    status, answer, key = joins(real, token(said))
    assert (status, json.loads(answer)["name"]) == (200, "phone-1")
    assert "phone-1" in real.command("devices")
    assert asked(real, "GET", "/model", **signed(key))[0] == 404, "it is a device, and no model is promoted"
    more = real.command("invite", "--phones", "1")
    assert code_shown(real) == (403, b""), "a newer code stands in another terminal"
    assert joins(real, token(said))[0] == 403, "the code of before has been replaced"
    assert json.loads(joins(real, token(more))[1])["name"] == "phone-2"
    assert joins(real, token(more))[0] == 403, "one more, and no other"
    real.command("revoke", "phone-1")
    assert asked(real, "GET", "/model", **signed(key))[0] == 401
    assert [row["name"] for row in json.loads(real.command("devices", "--json"))] == ["phone-2"]


def code_shown(real: Coordinated, **instead: str) -> tuple[int, bytes]:
    """Of the status page, for whoever has its token."""
    place, _, given = page_address(real).partition("?token=")
    try:
        with urllib.request.urlopen(f"{place}phones.svg?token={instead.get('token', given)}") as answer:
            return answer.status, answer.read()[:4]
    except urllib.error.HTTPError as refused:
        return refused.code, b""
