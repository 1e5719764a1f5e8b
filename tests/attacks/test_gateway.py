"""What somebody who reaches a federation's port can do: nothing that is not on the list."""

import json
import socket
import ssl

import pytest

from hedgerow.coordinator.folder import FederationFolder
from hedgerow.coordinator.http import Limits
from hedgerow.coordinator.members import leave
from hedgerow.coordinator.superlink import RELAYED
from tests.attacks.gateways import FLEET, Raw, gateway, joined, signed


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> FederationFolder:
    return FederationFolder.make(tmp_path_factory.mktemp("gateway") / "federation")


@pytest.mark.parametrize("call", ["register-node", "unregister-node", "get-fab", "../control/start-run", ""])
def test_a_fleet_call_that_is_not_on_the_list_is_refused_to_a_device_that_has_joined(raw, key, call):
    assert call not in {path.removeprefix(FLEET) for path in RELAYED}
    assert raw.ask("POST", FLEET + call, signed(key)) == 403


@pytest.mark.parametrize(
    "path",
    ["/v1/control/start-run", "/v1/control/register-node", "/v1/runtime/push-messages", "/docs", "/", "*"],
)
def test_whatever_else_the_superlink_serves_is_not_there(raw, key, path):
    assert raw.ask("POST", path, signed(key)) == 404


@pytest.mark.parametrize("path", [*sorted(RELAYED), "/leave"])
def test_a_call_without_a_signature_or_with_an_old_one_is_refused(raw, key, path):
    assert raw.ask("POST", path) == 401
    assert raw.ask("POST", path, signed(key, age=400)) == 401
    assert raw.ask("POST", path, signed(key, age=-60)) == 401


def test_another_devices_signature_is_refused(raw, key, folder, tmp_path):
    mixed = {**signed(key), "flwr-signature": signed(joined(folder, "garage", tmp_path))["flwr-signature"]}
    assert raw.ask("POST", FLEET + "pull-messages", mixed) == 401


def test_a_device_that_was_revoked_is_refused_at_once(raw, folder, tmp_path):
    key = joined(folder, "shed", tmp_path)
    assert raw.ask("POST", FLEET + "pull-messages", signed(key)) == 502  # there is no SuperLink here
    leave(folder, "shed")
    assert raw.ask("POST", FLEET + "pull-messages", signed(key)) == 401


@pytest.mark.parametrize("path", [FLEET + "push-object", "/join", "/register", FLEET + "get-fab"])
def test_600_mb_are_refused_before_any_of_them_is_read(raw, key, path):
    method = "GET" if path == "/register" else "POST"
    raw.send(method, path, {**signed(key), "content-length": str(600 * 2**20)})
    status, headers, _ = raw.reply()
    assert status in (413, 403)
    assert headers["connection"] == "close"
    assert raw.ended()


def test_a_body_that_is_allowed_is_not_read_from_a_stranger(raw):
    raw.send("POST", FLEET + "push-object", {"content-length": str(5 * 2**20)})
    assert raw.reply()[0] == 401


def test_a_body_of_no_announced_length_is_refused(raw, key):
    headers = {**signed(key), "transfer-encoding": "chunked", "content-length": ""}
    raw.send("POST", FLEET + "push-object", headers)
    assert raw.reply()[0] == 411


@pytest.mark.parametrize("said", [b"\x16\x03\x01", b"GET / HTTP/1.1 x", b"A" * 20000, b"\r\n" * 9000])
def test_what_is_no_http_ends_the_connection(raw, said):
    raw.socket.sendall(said + b"\r\n\r\n")
    status, _, _ = raw.reply()
    assert status == 0 or 400 <= status < 500
    assert raw.ended()


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"hedgerow": "9.0"}', b'{"hedgerow": "0.1.0", "name": "x"}']
)
def test_a_request_to_join_that_is_none_is_refused(raw, body):
    assert raw.ask("POST", "/join", body=body) == 400


def test_a_stranger_who_guesses_tokens_is_slowed_down(folder):
    with gateway(folder) as port:
        raw = Raw(folder, port)
        statuses = [raw.ask("POST", "/join", body=b"[]") for _ in range(199)]
        assert statuses == [400] * 199
        asked = (raw.ask("GET", "/register") for _ in range(2000))
        assert next(status for status in asked if status != 200) == 429
        raw.socket.close()


@pytest.mark.parametrize("path", ["/join", FLEET + "push-object"])
def test_a_client_that_is_slow_is_cut_off_while_others_are_served(folder, key, path):
    quick = Limits(head=0.5, idle=0.5, body=0.5, body_rate=2**20)
    with gateway(folder, quick) as port:
        silent, in_head, in_body, idle = (Raw(folder, port) for _ in range(4))
        in_head.socket.sendall(b"POST /join HTT")
        in_body.send("POST", path, {**signed(key), "content-length": "1000"})
        assert idle.ask("GET", "/register") == 200
        assert all(each.ended() for each in (silent, in_head, in_body, idle))
        after = Raw(folder, port)
        assert after.ask("GET", "/register") == 200
        for each in (silent, in_head, in_body, idle, after):
            each.socket.close()


def test_no_more_connections_are_held_than_are_allowed(folder):
    with gateway(folder, Limits(connections=2)) as port:
        first, second = Raw(folder, port), Raw(folder, port)
        assert [each.ask("GET", "/register") for each in (first, second)] == [200, 200]
        with pytest.raises(OSError, match=r"reset|EOF"):
            Raw(folder, port)
        for each in (first, second):
            each.socket.close()


def test_who_says_nothing_takes_no_place_of_those_that_had_an_answer(folder):
    with gateway(folder, Limits(strangers=2)) as port:
        known = [Raw(folder, port) for _ in range(2)]
        assert [each.ask("GET", "/register") for each in known] == [200, 200]
        silent = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(2)]
        with pytest.raises(OSError, match=r"reset|EOF"):
            Raw(folder, port)
        assert [each.ask("GET", "/register") for each in known] == [200, 200]
        for each in silent:
            each.close()
        for each in known:
            each.socket.close()


def test_a_federation_is_known_by_its_own_ca_only(folder, port, tmp_path):
    foreign = FederationFolder.make(tmp_path / "foreign")
    with gateway(foreign):
        pass  # makes its CA
    with pytest.raises(ssl.SSLCertVerificationError, match="verify failed"):
        Raw(foreign, port)


def test_what_a_device_may_not_know_is_not_told(raw):
    raw.send("GET", "/register")
    status, _, body = raw.reply()
    assert status == 200
    assert set(json.loads(body)) == {"register", "trust", "version", "administrator"}
