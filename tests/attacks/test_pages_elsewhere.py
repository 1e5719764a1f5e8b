"""Pages of other origins: listed ones may call the paths for devices, and no others anything."""

import pytest

from hedgerow.coordinator.folder import FederationError, FederationFolder
from hedgerow.coordinator.phones import Phones, checked_page, origin_of, save_phones
from tests.attacks.gateways import FLEET, Raw, gateway, signed

HERE, NEIGHBOUR = "https://pages.example", "https://evil.example"
LIKE_IT = [
    "https://pages.example.evil.example", "https://evilpages.example", "http://pages.example", "null", "*",
    "https://pages.example:444", "https://PAGES.example", "https://pages.example/", NEIGHBOUR, "",
]  # fmt: skip
LEAVE = "access-control-allow-origin"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> FederationFolder:
    made = FederationFolder.make(tmp_path_factory.mktemp("elsewhere") / "federation")
    save_phones(made, Phones("0" * 64, (f"{HERE}/phone/", "https://other.example:8443/"), {"name": "run"}))
    return made


def asked(raw: Raw, method: str, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    raw.send(method, path, {name.replace("_", "-"): value for name, value in headers.items()})
    return raw.reply()


@pytest.mark.parametrize(
    "path",
    ["/join", "/leave", "/register", "/rotate", "/model", f"{FLEET}pull-messages", "/phone/about.json"],
)
@pytest.mark.parametrize("origin", [HERE, "https://other.example:8443"])
def test_a_listed_page_is_told_what_it_may_send(raw, path, origin):
    status, headers, body = asked(raw, "OPTIONS", path, origin=origin, access_control_request_method="POST")
    assert (status, body) == (200, b"")
    assert headers[LEAVE] == origin
    assert headers["access-control-allow-methods"] == "GET, POST"
    named = set(headers["access-control-allow-headers"].split(", "))
    assert named >= {"content-type", "prefer", "flwr-public-key", "flwr-timestamp", "flwr-signature"}
    assert "access-control-allow-credentials" not in headers
    assert headers["vary"] == "origin"


@pytest.mark.parametrize("origin", LIKE_IT)
@pytest.mark.parametrize(("method", "path"), [("OPTIONS", "/join"), ("GET", "/register")])
def test_no_other_origin_gets_leave(raw, method, path, origin):
    status, headers, _ = asked(raw, method, path, origin=origin, access_control_request_method="POST")
    assert status == (200 if method == "GET" else 405), "a browser is answered like anybody else"
    assert not [name for name in headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/phone/", "/phone/sw.js", f"{FLEET}register-node", "/", "/nothing"])
def test_a_listed_page_gets_leave_for_no_other_path(raw, path):
    status, headers, _ = asked(raw, "OPTIONS", path, origin=HERE, access_control_request_method="POST")
    assert status in (403, 404, 405)
    assert LEAVE not in headers


def test_answers_and_refusals_can_be_read_by_the_listed_page(raw, key):
    for status, headers, _ in (
        asked(raw, "GET", "/register", origin=HERE),
        asked(raw, "POST", "/join", origin=HERE),
        asked(raw, "POST", "/leave", origin=HERE),
    ):
        assert status in (200, 400, 401)
        assert headers[LEAVE] == HERE
        assert {"date", "hedgerow-pace", "hedgerow-model"} <= set(
            headers["access-control-expose-headers"].split(", ")
        )
        assert "access-control-allow-credentials" not in headers
    raw.send("POST", f"{FLEET}pull-messages", {**signed(key), "origin": HERE})
    assert raw.reply()[1][LEAVE] == HERE


def test_a_public_page_may_call_a_machine_of_the_local_network_if_it_is_listed(raw):
    wanted = {"access_control_request_private_network": "true", "access_control_request_method": "POST"}
    assert asked(raw, "OPTIONS", "/join", origin=HERE, **wanted)[1][
        "access-control-allow-private-network"
    ] == "true"  # fmt: skip
    headers = asked(raw, "OPTIONS", "/join", origin=NEIGHBOUR, **wanted)[1]
    assert not [name for name in headers if name.startswith("access-control")]


def test_leave_ends_when_the_page_is_no_longer_listed(tmp_path):
    folder = FederationFolder.make(tmp_path / "federation")
    save_phones(folder, Phones("0" * 64, (f"{HERE}/",)))
    with gateway(folder) as port:
        raw = Raw(folder, port)
        assert LEAVE in asked(raw, "GET", "/register", origin=HERE)[1]
        save_phones(folder, Phones("0" * 64, ()))
        assert LEAVE not in asked(raw, "GET", "/register", origin=HERE)[1]
        raw.socket.close()


@pytest.mark.parametrize(
    "page",
    ["http://pages.example", "https://", "pages.example", "*", "https://*", "https://*.example", "null",
     "https://a.example?x", "https://a.example/#x", "https://a b", "https://user@a.example", "https://A.example",
     "https://a.example:port", "https://a.example:99999", "https://a.example/*", "https://a.example\n"],
)  # fmt: skip
def test_what_is_no_exact_address_is_refused(page):
    with pytest.raises(FederationError, match=r"it must be like https://pages\.example"):
        checked_page(page)


@pytest.mark.parametrize(
    ("page", "address", "origin"),
    [
        ("https://pages.example", "https://pages.example/", "https://pages.example"),
        ("https://pages.example:443/a/", "https://pages.example/a/", "https://pages.example"),
        ("https://pages.example:8443", "https://pages.example:8443/", "https://pages.example:8443"),
        ("https://[::1]:8443/x/", "https://[::1]:8443/x/", "https://[::1]:8443"),
    ],
)
def test_an_origin_is_written_as_browsers_send_it(page, address, origin):
    assert (checked_page(page), origin_of(checked_page(page))) == (address, origin)
