"""What an operator does with a federation that does not run: kits, certificates, the register; mistakes."""

import json
import stat

import pytest
from cryptography import x509
from typer.testing import CliRunner

from hedgerow.client.secure.enrolment import enrol
from hedgerow.client.secure.register_file import load_register
from hedgerow.client.secure.signed_register import verify
from hedgerow.coordinator.certificates import authority, certified, gateway_certificate
from hedgerow.coordinator.folder import FederationFolder
from hedgerow.coordinator.members import changed_members, load_members
from hedgerow.coordinator.register import rebuild
from hedgerow.experiments.cli.main import app
from hedgerow.files import who_else_can_write
from hedgerow.secure.errors import Malformed
from tests.attacks.gateways import joined


def hedgerow(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture
def folder(tmp_path, monkeypatch) -> FederationFolder:
    monkeypatch.chdir(tmp_path)
    return FederationFolder.make(tmp_path / "federation")


def test_a_kit_has_what_a_device_needs_and_no_file_keeps_its_token(folder, tmp_path):
    hedgerow("invite", "kitchen")
    kit = json.loads((tmp_path / "kitchen.kit").read_text())
    assert sorted(kit) == sorted(
        ["hedgerow", "federation", "name", "address", "ca", "token", "administrator"]
    )
    assert (kit["name"], kit["address"], kit["administrator"]) == ("kitchen", "https://127.0.0.1:8470", None)
    files = [file for file in folder.path.rglob("*") if file.is_file()]
    assert files
    for file in files:
        assert kit["token"] not in file.read_text()
        assert not stat.S_IMODE(file.stat().st_mode) & 0o077, file
    assert not who_else_can_write(folder.path)


def test_a_later_kit_for_the_same_device_takes_the_place_of_an_earlier_one(folder):
    hedgerow("invite", "kitchen")
    (first,) = load_members(folder).invited
    hedgerow("invite", "kitchen")
    (second,) = load_members(folder).invited
    assert first != second


@pytest.mark.parametrize("name", ["../../kitchen", "/etc/kitchen", "nul", "küche", "a" * 200])
def test_whatever_a_device_is_called_its_kit_lies_in_the_folder(folder, tmp_path, name):
    hedgerow("invite", name, "--out", str(tmp_path))
    (kit,) = tmp_path.glob("*.kit")
    assert json.loads(kit.read_text())["name"] == name


@pytest.mark.parametrize("name", ["", " kitchen", "a\nb", "a" * 201])
def test_a_name_that_can_be_no_devices_is_refused(folder, name):
    assert "the name is" in hedgerow("invite", name, code=2)
    assert load_members(folder).invited == {}


def test_several_devices_are_invited_at_once_and_none_where_one_cannot_be(folder, tmp_path):
    said = hedgerow("invite", "attic", "barn", "attic")
    assert "take each to its device" in said
    assert sorted(kit.name for kit in tmp_path.glob("*.kit")) == ["attic.kit", "barn.kit"]
    tokens = [json.loads(kit.read_text())["token"] for kit in tmp_path.glob("*.kit")]
    assert len(set(tokens)) == 2
    assert sorted(load_members(folder).invited.values()) == ["attic", "barn"]
    joined(folder, "kitchen", tmp_path / "federation")
    before = load_members(folder).invited
    assert "'kitchen' has already joined" in hedgerow("invite", "cellar", "kitchen", code=2)
    assert load_members(folder).invited == before
    assert not (tmp_path / "cellar.kit").exists()


def test_who_has_joined_is_not_invited_again_and_can_be_revoked(folder, tmp_path):
    joined(folder, "kitchen", tmp_path)
    assert "hedgerow revoke kitchen" in hedgerow("invite", "kitchen", code=2)
    assert "did you mean 'kitchen'" in hedgerow("revoke", "kitchn", code=2).lower()
    hedgerow("revoke", "kitchen")
    assert load_members(folder).gone == [7], "the SuperLink still has to forget it"
    hedgerow("invite", "kitchen")


def test_commands_for_a_federation_that_is_not_there_say_what_makes_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for command in (["invite", "x"], ["status"], ["devices"], ["logs"], ["stop"], ["revoke", "x"]):
        assert "hedgerow up RECIPE" in hedgerow(*command, code=2)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    assert "choose another folder" in hedgerow("up", "heart", "--federation", "full", code=2)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--certificate", "a.pem"], "belong together"),
        (["--certificate", "a.pem", "--key", "b.pem"], "cannot be used"),
        (["--host", "a b"], "the host is 'a b'"),
    ],
)
def test_a_mistake_is_told_before_anything_starts(folder, arguments, says):
    assert says in hedgerow("up", "heart", *arguments, code=2)
    assert not (folder.path / "processes.json").exists()


def test_a_certificate_is_kept_until_its_hosts_change_or_it_cannot_be_read(folder):
    first = gateway_certificate(folder).certificate.read_bytes()
    assert gateway_certificate(folder).certificate.read_bytes() == first
    names = x509.load_pem_x509_certificate(first).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert [str(name.value) for name in names.value] == ["127.0.0.1", "localhost"]
    folder.at("farm.example")
    second = gateway_certificate(folder).certificate.read_bytes()
    assert second != first
    (folder.path / "server.key").write_bytes((folder.path / "ca.key").read_bytes())
    assert gateway_certificate(folder).certificate.read_bytes() != second
    ca = authority(folder).certificate.read_bytes()
    assert certified(folder, "link", ("localhost",)).context()
    assert authority(folder).certificate.read_bytes() == ca


def registered(folder: FederationFolder, tmp_path, *names: str) -> None:
    """Devices with identities."""
    for name in names:
        joined(folder, name, tmp_path)
        with changed_members(folder) as members:
            device = members.devices[name]
            members.devices[name] = type(device)(
                device.node_key, device.node_id, enrol(tmp_path / f"identity-{name}"), device.token, 0.0
            )
    rebuild(folder, load_members(folder))


def test_a_register_is_first_use_until_an_administrator_signs_it_and_later_ones_count_up(folder, tmp_path):
    registered(folder, tmp_path, "kitchen", "shed")
    assert "trusted on first use" in hedgerow("status")
    copy, served = tmp_path / "copy.toml", folder.path / "register.toml"
    copy.write_text(served.read_text())
    assert "it is not signed" in hedgerow("register", "publish", "copy.toml", code=2)
    hedgerow("register", "sign", "copy.toml", "--key", "administrator.key")
    assert stat.S_IMODE((tmp_path / "administrator.key").stat().st_mode) == 0o600
    first = copy.read_text()
    hedgerow("register", "publish", "copy.toml")
    assert "version 1, signed by" in hedgerow("status")
    assert set(load_register(served)) == {"kitchen", "shed"}
    registered(folder, tmp_path, "garage")
    assert set(load_register(served)) == {"kitchen", "shed"}, "who is not signed is not in it"
    assert "sign a later one" in hedgerow("register", "publish", "copy.toml", code=2)
    hedgerow("register", "add", "copy.toml", f'garage = "{enrol(tmp_path / "identity-garage")}"')
    assert "it is not signed" in hedgerow("register", "publish", "copy.toml", code=2)
    hedgerow("register", "sign", "copy.toml", "--key", "administrator.key")
    assert copy.read_text().count("# signed by") == 1
    hedgerow("register", "publish", "copy.toml")
    assert set(load_register(served)) == {"garage", "kitchen", "shed"}
    hedgerow("invite", "barn")
    administrator = json.loads((tmp_path / "barn.kit").read_text())["administrator"]
    assert verify(served.read_text(), administrator).version == 2
    copy.write_text(first)
    assert "sign a later one" in hedgerow("register", "publish", "copy.toml", code=2)
    hedgerow("register", "sign", "copy.toml", "--key", "another.key")
    hedgerow("register", "sign", "copy.toml", "--key", "another.key")
    assert "the administrator is" in hedgerow("register", "publish", "copy.toml", code=2)


def test_a_register_of_another_federation_or_with_one_bit_changed_is_refused(folder, tmp_path):
    registered(folder, tmp_path, "kitchen")
    copy = tmp_path / "copy.toml"
    copy.write_text((folder.path / "register.toml").read_text())
    hedgerow("register", "sign", "copy.toml", "--key", "administrator.key")
    good = copy.read_text()
    administrator = verify(good, None).administrator
    for place in range(0, len(good) - 1, 7):
        changed = good[:place] + chr(ord(good[place]) ^ 1) + good[place + 1 :]
        with pytest.raises(Malformed):
            verify(changed, administrator)
    other = FederationFolder.make(tmp_path / "other")
    assert "is for federation" in hedgerow(
        "register", "publish", "copy.toml", "--federation", str(other.path), code=2
    )
