"""What keeps a federation going for years: certificates that renew, backups, health."""

import asyncio
import io
import ssl
import tarfile
from pathlib import Path

import pytest
from cryptography import x509
from typer.testing import CliRunner

from hedgerow.coordinator import certificates, events, presence
from hedgerow.coordinator.backup import backup, restore
from hedgerow.coordinator.certificates import authority, gateway_certificate
from hedgerow.coordinator.folder import FederationError, FederationFolder
from hedgerow.coordinator.gateway import Gateway
from hedgerow.coordinator.http import HttpServer
from hedgerow.coordinator.members import load_members
from hedgerow.coordinator.serve import renew
from hedgerow.coordinator.watch import BAD, GOOD, WAITS, health, snapshot
from hedgerow.experiments.cli.main import app
from tests.attacks.gateways import joined


@pytest.fixture
def folder(tmp_path, monkeypatch) -> FederationFolder:
    monkeypatch.chdir(tmp_path)
    return FederationFolder.make(tmp_path / "federation")


async def shown(port: int, folder: FederationFolder) -> x509.Certificate:
    context = ssl.create_default_context(cafile=str(folder.path / "ca.pem"))
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    return x509.load_der_x509_certificate(der)


def test_a_certificate_that_ends_soon_is_replaced_while_the_gateway_serves(folder, monkeypatch):
    monkeypatch.setattr(certificates, "_DAYS", 31)
    certificate = gateway_certificate(folder)
    stamp, context = certificate.stamp, certificate.context()
    ca = authority(folder).certificate.read_bytes()

    async def serve() -> None:
        handler = Gateway(folder)
        async with HttpServer(handler, "127.0.0.1", 0, context) as server:
            before = await shown(server.port, folder)
            renewing = asyncio.create_task(renew(folder, context, stamp, 0.05))
            await asyncio.sleep(0.2)
            assert await shown(server.port, folder) == before, "it has 31 days left"
            monkeypatch.setattr(certificates, "_RENEW_DAYS", 40)
            monkeypatch.setattr(certificates, "_DAYS", 397)
            while (now := await shown(server.port, folder)) == before:
                await asyncio.sleep(0.05)
            (folder.path / "server.key").write_text("no key")
            while await shown(server.port, folder) == now:
                await asyncio.sleep(0.05)
            renewing.cancel()
        await handler.close()

    asyncio.run(asyncio.wait_for(serve(), 60))
    assert authority(folder).certificate.read_bytes() == ca, "devices go on trusting it"
    assert "the gateway uses a new certificate" in events.events(folder)[0]["text"]


def test_what_is_given_and_cannot_be_used_leaves_the_certificate_that_is_shown(folder):
    own = gateway_certificate(folder)
    context = own.context()
    other = authority(folder)
    with pytest.raises(FederationError, match="cannot be used"):
        certificates.Certificate(own.certificate, other.key).load(context)
    own.load(context)


def test_a_certificate_lasts_over_a_year_and_is_made_anew_a_month_before(folder, monkeypatch):
    monkeypatch.setattr(certificates, "_DAYS", 31)
    kept = gateway_certificate(folder).stamp
    assert gateway_certificate(folder).stamp == kept
    monkeypatch.setattr(certificates, "_DAYS", 30)
    (folder.path / "server.pem").unlink()
    short = gateway_certificate(folder).stamp
    assert gateway_certificate(folder).stamp != short


def test_a_backup_has_what_a_federation_is_and_nothing_of_a_moment(folder, tmp_path):
    key = joined(folder, "kitchen", tmp_path)
    gateway_certificate(folder)
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints" / "a").write_bytes(b"model")
    (run / "metrics.jsonl").write_text("{}\n")
    folder.write("job.json", {"run": str(run)})
    folder.write(presence.FILE, {"kitchen": 1.0})
    events.note(folder, "x")
    file = tmp_path / "backup.tar"
    assert backup(folder, file) == ["federation", "run"]
    with tarfile.open(file) as archive:
        names = archive.getnames()
    assert names.index("run/checkpoints/a") < names.index("run/metrics.jsonl")
    assert not [name for name in names if "presence" in name or "logs" in name or "job" in name]
    there = restore(file, tmp_path / "there", tmp_path / "run-there")
    assert load_members(there) == load_members(folder)
    assert authority(there).certificate.read_bytes() == authority(folder).certificate.read_bytes()
    assert (tmp_path / "run-there" / "checkpoints" / "a").read_bytes() == b"model"
    for place in [*there.path.rglob("*"), there.path]:
        assert place.stat().st_mode & 0o077 == 0, place
    assert key is not None


def test_what_is_no_backup_or_would_write_elsewhere_or_over_something_is_refused(folder, tmp_path):
    file = tmp_path / "backup.tar"
    backup(folder, file)
    with pytest.raises(FederationError, match="already exists"):
        restore(file, folder.path, tmp_path / "run")
    (tmp_path / "text").write_text("no archive")
    with pytest.raises(FederationError, match="is not a backup"):
        restore(tmp_path / "text", tmp_path / "a", tmp_path / "run")
    with tarfile.open(file, "a") as archive:
        for name in ("federation/../../outside", "/outside", "federation//outside", "other/outside"):
            about = tarfile.TarInfo(name)
            about.size = 1
            archive.addfile(about, io.BytesIO(b"x"))
        link = tarfile.TarInfo("federation/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    there = restore(file, tmp_path / "deep" / "there", tmp_path / "run")
    assert not list(tmp_path.rglob("outside"))
    assert not Path("/outside").exists()
    assert not (there.path / "link").is_symlink()


def test_a_health_check_fails_where_nothing_runs(folder):
    assert CliRunner().invoke(app, ["status"]).exit_code == 0
    assert CliRunner().invoke(app, ["status", "--healthy"]).exit_code == 1


RUNS = {"runs": True, "rounds": 9, "processes": {"superlink": 1, "gateway": 2, "page": 3}}


@pytest.mark.parametrize(
    ("found", "states", "last", "level", "says"),
    [
        ({"runs": False}, ("online",), {}, BAD, "stopped"),
        ({"runs": False}, (), {"round": 9}, GOOD, "done: 9 rounds"),
        ({"processes": {"gateway": 1, "page": 2}}, ("online",), {}, BAD, "the superlink died"),
        ({}, ("online",) * 2, {"failed": "too few"}, BAD, "round 3 changed nothing: too few"),
        ({}, ("online", "lost"), {}, BAD, "no word from b"),
        ({}, ("online", "invited"), {}, WAITS, "waiting for 1 of 2 devices"),
        ({}, ("online", "away"), {}, WAITS, "waiting for 1 of 2 devices"),
        ({}, ("online",) * 3, {"dropped": {"c": "late"}}, WAITS, "round 3 went without c"),
        ({}, ("online",) * 2, {}, GOOD, "all is well: 2 devices online, nobody dropped"),
        ({}, ("online",) * 2, {"round": 9}, GOOD, "done: 9 rounds"),
        ({}, ("online",) * 2, None, GOOD, "the first round is running"),
    ],
)
def test_what_is_worst_is_told_first(found, states, last, level, says):
    devices = [
        {"name": name, "state": "away" if state == "lost" else state, "heard": 1 if state == "lost" else None}
        for name, state in zip("abc", states, strict=False)
    ]
    rounds = [] if last is None else [{"round": 3, "failed": "", "dropped": {}, **last}]
    told = health({**RUNS, **found}, devices, rounds, {"wanted": 2})
    assert told[0] == level
    assert says in told[1]


@pytest.mark.parametrize("protected", [True, False, None])
def test_of_a_protected_run_nothing_is_shown_of_one_device(folder, tmp_path, protected):
    joined(folder, "kitchen", tmp_path)
    run = tmp_path / "run"
    run.mkdir()
    told = '"kitchen": {"bytes_up": 7, "bytes_down": 8}'
    (run / "metrics.jsonl").write_text(
        '{"round": 1, "seconds": 1.0, "bytes_up": 7, "bytes_down": 8, "clients": {' + told + "},"
        ' "dropped": {}, "failed": "", "evaluation": {}}\n'
    )
    (run / "clients.jsonl").write_text('{"round": 1, "clients": {"kitchen": {"accuracy": 0.5}}}\n')
    job = {"run": str(run), "rounds": 1, "wanted": 1} | (
        {} if protected is None else {"protected": protected}
    )
    folder.write("job.json", job)
    (device,) = snapshot(folder)["devices"]
    if protected is False:
        assert (device["bytes_up"], device["score"]) == (7, {"accuracy": 0.5})
    else:
        assert set(device) == {"name", "state", "heard"}
