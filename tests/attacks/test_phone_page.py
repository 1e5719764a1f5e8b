"""What the gateway gives out below `/phone/`: the build's files, with strict headers, and nothing else."""

import gzip
import json
from collections.abc import Iterator
from contextlib import suppress

import pytest

from hedgerow.coordinator import phone_page
from hedgerow.coordinator.folder import FederationFolder
from hedgerow.coordinator.http import Limits
from hedgerow.coordinator.phone_build import ABOUT_BUILD, hash_of
from hedgerow.coordinator.phones import Phones, save_phones
from tests.attacks.gateways import Raw, gateway
from tests.phone_pages import FILES, SCRIPT, write_page

ABOUT = {"name": "clinics", "rounds": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FederationFolder]:
    place = tmp_path_factory.mktemp("phones")
    page = write_page(place / "dist")
    made = FederationFolder.make(place / "federation")
    save_phones(made, Phones(hash_of(page), (), ABOUT))
    (place / "secret.txt").write_text("secret")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phone_page, "build_folder", lambda: page)
        yield made


def got(raw: Raw, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    raw.send(method, path, {name.replace("_", "-"): value for name, value in headers.items()})
    return raw.reply(bodyless=method == "HEAD")


def test_every_file_of_the_build_is_served_as_it_is(raw):
    for name, content in FILES.items():
        status, headers, body = got(raw, f"/phone/{name}")
        assert (status, body) == (200, content), name
        assert "content-encoding" not in headers
    assert got(raw, "/phone/")[2] == FILES["index.html"]
    status, headers, _ = got(raw, "/phone")
    assert (status, headers["location"]) == (308, "/phone/")


@pytest.mark.parametrize(
    ("name", "kind", "cache"),
    [
        ("", "text/html; charset=utf-8", "no-cache"),
        ("sw.js", "text/javascript; charset=utf-8", "no-cache"),
        (ABOUT_BUILD, "application/json", "no-cache"),
        ("manifest.webmanifest", "application/manifest+json", "no-cache"),
        (SCRIPT, "text/javascript; charset=utf-8", "public, max-age=31536000, immutable"),
        ("assets/ort-wasm-simd-threaded-Bx_81-zQ.wasm", "application/wasm",
         "public, max-age=31536000, immutable"),
        ("about.json", "application/json", "no-store"),
    ],
)  # fmt: skip
def test_only_what_has_its_hash_in_its_name_is_kept_without_asking(raw, name, kind, cache):
    _, headers, _ = got(raw, f"/phone/{name}")
    assert (headers["content-type"], headers["cache-control"]) == (kind, cache)


@pytest.mark.parametrize(
    ("takes", "encoding"),
    [
        ("gzip, deflate, br, zstd", "br"),
        ("gzip", "gzip"),
        ("br;q=0, gzip;q=0.5", "gzip"),
        ("br;q=0.0,gzip;q=0", ""),
        ("identity", ""),
        ("*", ""),
        ("brotli", ""),
    ],
)
def test_a_file_comes_in_the_smallest_encoding_that_the_browser_takes(raw, takes, encoding):
    status, headers, body = got(raw, f"/phone/{SCRIPT}", accept_encoding=takes)
    assert (status, headers.get("content-encoding", "")) == (200, encoding)
    assert headers["vary"] == "accept-encoding"
    if encoding == "gzip":
        body = gzip.decompress(body)
    assert body == (b"as a browser would unpack it" if encoding == "br" else FILES[SCRIPT])


def test_what_a_browser_has_already_is_not_sent_again_but_only_in_the_same_encoding(raw):
    _, headers, _ = got(raw, f"/phone/{SCRIPT}", accept_encoding="br")
    tag = headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        status, headers, body = got(raw, f"/phone/{SCRIPT}", accept_encoding="br", if_none_match=known)
        assert (status, headers["etag"], body) == (304, tag, b"")
    assert got(raw, f"/phone/{SCRIPT}", accept_encoding="gzip", if_none_match=tag)[0] == 200


@pytest.mark.parametrize("path", ["", "sw.js", SCRIPT, "about.json", "nothing.js"])
def test_every_reply_has_the_strict_headers_a_refusal_too(raw, path):
    _, headers, _ = got(raw, f"/phone/{path}")
    policy = dict(rule.strip().split(" ", 1) for rule in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == "'self' 'wasm-unsafe-eval'"
    assert policy["worker-src"] == policy["connect-src"] == policy["style-src"] == "'self'"
    assert "unsafe-inline" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-opener-policy"] == headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["permissions-policy"].startswith("accelerometer=(self), gyroscope=(self), camera=()")


@pytest.mark.parametrize(
    "path",
    ["../secret.txt", "..%2fsecret.txt", "%2e%2e/secret.txt", "./../secret.txt", "assets/../../secret.txt",
     "/etc/passwd", "//etc/passwd", "..\\secret.txt", "index.html/", "INDEX.HTML", "index.html%00", "assets",
     "assets/", f"{SCRIPT}.gz", f"{SCRIPT}.br", "phones.json", "%69ndex.html"],
)  # fmt: skip
def test_a_path_that_is_no_file_of_the_build_is_not_there(raw, path):
    status, _, body = got(raw, f"/phone/{path}")
    assert status == 404
    assert b"secret" not in body


@pytest.mark.parametrize("path", ["/phones/", "/phone.html", "/phoney/index.html", "/Phone/"])
def test_beside_the_page_nothing_else_is_there(raw, path):
    assert got(raw, path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_a_page_is_only_read(raw, method):
    status, headers, _ = got(raw, "/phone/", method)
    assert (status, headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/phone/", f"/phone/{SCRIPT}", "/phone/nothing.js", "/nothing"])
def test_to_head_comes_what_would_come_to_get_without_its_body(raw, path):
    status, headers, body = got(raw, path)
    asked = got(raw, path, "HEAD")
    assert asked[0] == status
    assert asked[2] == b""
    assert {**asked[1], "date": ""} == {**headers, "date": ""}
    assert int(headers["content-length"]) == len(body)
    assert got(raw, path)[0] == status, "the connection goes on"


def test_a_part_of_a_file_is_not_given_out(raw):
    status, headers, body = got(raw, f"/phone/{SCRIPT}", range="bytes=0-9")
    assert (status, body, headers["accept-ranges"]) == (200, FILES[SCRIPT], "none")


def test_a_body_is_refused_before_it_is_read(raw):
    raw.send("GET", "/phone/", {"content-length": "1"})
    assert raw.reply()[0] == 413


def test_the_page_says_of_the_run_what_the_coordinator_says(raw):
    assert json.loads(got(raw, "/phone/about.json")[2]) == ABOUT


def test_visitors_are_slowed_down_and_keep_nobody_from_joining(folder):
    with gateway(folder) as port:
        raw = Raw(folder, port)
        asked = (raw.ask("GET", "/phone/sw.js") for _ in range(3000))
        assert next(status for status in asked if status != 200) == 429
        assert raw.ask("POST", "/join", body=b"[]") == 400
        raw.socket.close()


def test_who_takes_a_large_file_slowly_is_cut_off_while_others_are_served(folder):
    with gateway(folder, Limits(connections=2, reply=0.2, body_rate=2**22)) as port:
        slow, quick = Raw(folder, port), Raw(folder, port)
        for _ in range(64):  # far more than the buffers of both sides hold
            slow.send("GET", f"/phone/{SCRIPT}")
        assert got(quick, f"/phone/{SCRIPT}")[2] == FILES[SCRIPT]
        after = None
        while after is None:  # until the slow one has made room
            with suppress(OSError):
                after = Raw(folder, port)
        assert got(after, f"/phone/{SCRIPT}")[2] == FILES[SCRIPT]
        for each in (slow, quick, after):
            each.socket.close()


def test_a_federation_that_never_had_phones_has_no_page(tmp_path):
    folder = FederationFolder.make(tmp_path / "federation")
    with gateway(folder) as port:
        raw = Raw(folder, port)
        status, _, body = got(raw, "/phone/")
        assert (status, "hedgerow up --phones" in body.decode()) == (404, True)
        raw.socket.close()


def test_another_page_than_the_one_that_was_shown_is_not_served(folder, tmp_path, monkeypatch):
    other = write_page(tmp_path / "dist", {**FILES, "index.html": b"<!doctype html>changed"})
    monkeypatch.setattr(phone_page, "build_folder", lambda: other)
    with gateway(folder) as port:
        raw = Raw(folder, port)
        status, _, body = got(raw, "/phone/")
        assert (status, "must be started again" in body.decode()) == (503, True)
        (other / "index.html").write_bytes(b"<!doctype html>changed again")
        assert got(raw, "/phone/sw.js")[0] == 503
        raw.socket.close()
