"""A node's connection: who it speaks to, what it waits out, and what it does not."""

import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from hedgerow.node.connection import Backoff, Connection, Denied, Unreachable
from hedgerow.node.device import FileNotes, wait_for_clock
from hedgerow.node.keys import node_key
from hedgerow.node.kit import load_kit
from hedgerow.node.outbox import Outbox


def certificate(folder: Path, name: str, days: int = 1, since: int = -2) -> tuple[Path, str]:
    """A certificate for this machine that vouches for itself: a file with its key, and PEM."""
    key, now = ec.generate_private_key(ec.SECP384R1()), datetime.now(UTC)
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(who).issuer_name(who).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=since)).not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = made.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / f"{name}.pem").write_bytes(secret + pem)
    return folder / f"{name}.pem", pem.decode()


@contextmanager
def server(answers: list[tuple[int, dict[str, str], bytes]], file: Path | None = None) -> Iterator[str]:
    """An HTTP server that gives these answers, one after another, and closes the connection after each."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            status, headers, body = answers.pop(0)
            self.send_response(status)
            for name, value in {"content-length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = True  # without a word, as idle connections are

        def log_message(self, *given: object) -> None:
            pass

    class Quiet(HTTPServer):
        def handle_error(self, *given: object) -> None:
            pass

    running = Quiet(("127.0.0.1", 0), Handler)
    if file is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        running.socket = context.wrap_socket(running.socket, server_side=True)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"{'http' if file is None else 'https'}://127.0.0.1:{running.server_port}"
    finally:
        running.shutdown()
        running.server_close()
        thread.join()


def call(address: str, ca: str | None, folder: Path, times: int = 1) -> list[bytes]:
    connection = Connection(address, ca, node_key(folder / "node.key"), seconds=5)
    try:
        return [connection.call("/x", b"body") for _ in range(times)]
    finally:
        connection.close()


def test_a_dropped_connection_is_made_anew(tmp_path) -> None:
    file, ca = certificate(tmp_path, "right")
    with server([(200, {}, b"a"), (200, {}, b"b"), (200, {}, b"c")], file) as address:
        assert call(address, ca, tmp_path, 3) == [b"a", b"b", b"c"]


def test_a_server_that_the_kit_does_not_vouch_for_is_sent_nothing(tmp_path) -> None:
    right, ca = certificate(tmp_path, "right")
    wrong, other = certificate(tmp_path, "wrong")
    expired, old = certificate(tmp_path, "expired", days=-1)
    early, new = certificate(tmp_path, "early", days=9, since=8)
    answers, year = [(200, {}, b"")] * 3, datetime.now().year
    for file, trusted, told in (
        (wrong, ca, "is not the server in the kit"),
        (right, other, "is not the server in the kit"),
        (right, None, "is not the server in the kit"),
        (expired, old, f"has a certificate that has expired, by this device's clock, which shows .* {year}"),
        (
            early,
            new,
            f"has a certificate that is not valid yet, by this device's clock, .* {year}: the clock is wrong",
        ),
    ):
        with server(answers, file) as address, pytest.raises(Unreachable, match=told):
            call(address, trusted, tmp_path)
    assert len(answers) == 3


def test_another_machine_is_spoken_to_by_tls_alone(tmp_path) -> None:
    for address in (
        "http://192.0.2.1:80",
        "http://example.com",
        "ftp://localhost",
        "localhost:80",
        "https://",
    ):
        with pytest.raises(ValueError, match="address"):
            Connection(address, None, node_key(tmp_path / "node.key"))


def test_what_is_refused_is_told_from_what_may_work_later(tmp_path) -> None:
    answers = [
        (403, {}, b'{"error": "used token"}'), (429, {"retry-after": "7"}, b""), (502, {}, b""),
        (200, {"hedgerow-pace": "1.5"}, b""), (200, {"hedgerow-pace": "soon"}, b""),
    ]  # fmt: skip
    with server(answers) as address:
        connection = Connection(address, None, node_key(tmp_path / "node.key"), seconds=5)
        with pytest.raises(Denied, match="used token") as denied:
            connection.call("/x", b"")
        assert denied.value.status == 403
        for seconds, status in ((7.0, 429), (0.0, 502)):
            with pytest.raises(Unreachable) as later:
                connection.call("/x", b"1")
            assert (later.value.seconds, later.value.status) == (seconds, status)
        for pace in (1.5, 0.0):
            connection.call("/x", b"1")
            assert connection.pace == pace
        connection.close()
    with pytest.raises(Unreachable, match="does not answer"):
        call(address, None, tmp_path)


def test_waits_grow_up_to_a_limit_and_differ(tmp_path) -> None:
    backoff = Backoff(1.0, 8.0)
    waits = [backoff.seconds() for _ in range(6)]
    assert all(upto / 2 <= wait <= upto for wait, upto in zip(waits, (1, 2, 4, 8, 8, 8), strict=True))
    assert Backoff().seconds(30.0) == 30.0
    assert len({Backoff().seconds() for _ in range(20)}) > 15
    backoff.reset()
    assert backoff.seconds() <= 1.0


def test_300_devices_whose_server_was_away_for_5_minutes_come_back_within_a_minute_and_not_at_once() -> None:
    back = []
    for _ in range(300):
        backoff, now = Backoff(), 0.0
        while now < 300.0:
            now += backoff.seconds()
        back.append(now)
    assert max(back) < 361
    assert max(Counter(map(int, back)).values()) <= 30, "about 7 a second"


def test_a_clock_before_the_day_of_joining_is_waited_for() -> None:
    now = datetime.now(UTC).timestamp()
    assert wait_for_clock(now)
    assert not wait_for_clock(now + 1000, pause=0.01, patience=0.05)


@pytest.mark.parametrize(
    "text",
    ["", "[]", '"a"', "7", "null", "[" * 100_000, "{}", '{"hedgerow": "0.1", "federation": "x"}',
     '{"hedgerow": "0.1", "federation": "0123456789abcdef", "name": "a", "address": "http://192.0.2.1"}',
     '{"hedgerow": "2.0", "federation": "0123456789abcdef", "name": "a", "address": "https://a"}',
     '{"hedgerow": "0.1", "federation": "../../../../etc/", "name": "a", "address": "https://a"}',
     '{"hedgerow": "0.1", "federation": "0123456789abcdef", "name": "\\u0000", "address": "https://a"}'],
)  # fmt: skip
def test_what_is_no_kit_is_refused(tmp_path, text) -> None:
    (tmp_path / "a.kit").write_text(text)
    with pytest.raises(ValueError, match="kit") as refused:
        load_kit(tmp_path / "a.kit")
    assert "attribute" not in str(refused.value)


def test_notes_and_torn_messages_survive_a_power_cut(tmp_path) -> None:
    notes = FileNotes(tmp_path / "notes")
    notes["round"] = {"state": b"\x00\xff", "done": False, "run": "a", "round": 3}
    assert dict(FileNotes(tmp_path / "notes")["round"]) == {
        "state": b"\x00\xff", "done": False, "run": "a", "round": 3,
    }  # fmt: skip
    assert "other" not in notes
    del notes["round"]
    assert len(notes) == 0
    outbox = Outbox(tmp_path / "outbox")
    (tmp_path / "outbox" / "pending" / "torn.json").write_text('{"id": "a", "mess')
    (tmp_path / "outbox" / "pending" / "empty.json").write_text("")
    assert outbox.pending() == []
    assert not list((tmp_path / "outbox" / "pending").iterdir())
