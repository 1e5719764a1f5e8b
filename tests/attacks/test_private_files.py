"""What a device and a server write is for their owner only, and what others can change is refused."""

import os
import stat
from collections.abc import Iterator

import numpy as np
import pytest

from hedgerow.client import account
from hedgerow.client.guard import node_guard
from hedgerow.client.policy import PolicyError
from hedgerow.client.policy_file import NAME as POLICY
from hedgerow.client.secure.answered_rounds import AnsweredRounds
from hedgerow.client.secure.enrolment import REGISTER, enrol, load_enrolment
from hedgerow.client.secure.register_file import add, load_register, register_line
from hedgerow.client.state import FolderState
from hedgerow.files import private_folder
from hedgerow.privacy.accounting import Budget
from hedgerow.privacy.events import Gaussian
from hedgerow.privacy.ledger import Ledger, LedgerError
from hedgerow.secure.errors import Malformed
from hedgerow.secure.primitives import identity_key
from hedgerow.server.checkpoint import save_checkpoint
from hedgerow.types import Model, ServerState
from tests.support import DIMENSION, LAYOUT

pytestmark = pytest.mark.skipif(os.name != "posix", reason="files have no modes")


@pytest.fixture(params=[0o000, 0o077], ids=["umask 000", "umask 077"])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def test_private_files_are_their_owners_whatever_the_umask(tmp_path, umask) -> None:
    enrol(tmp_path / "device")
    FolderState(tmp_path / "clients", "a").save(1, {"pipeline": {"residual": np.zeros(3, np.float32)}})
    Ledger(Budget(1e-5), FolderState(tmp_path / "accounts", "a").file("privacy.jsonl")).record(
        1, Gaussian(1.0), "a sum", noise="system"
    )
    AnsweredRounds({}, tmp_path / "device", "a").join("run", 1)
    model = Model(np.zeros(DIMENSION, np.float32))
    save_checkpoint(tmp_path / "run" / "checkpoints", ServerState(1, model, {}), LAYOUT, seed=0)
    found = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(found) == 6
    for file in found:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
        for folder in file.parents[: len(file.relative_to(tmp_path).parts) - 1]:
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700, folder


def test_files_that_were_open_to_others_are_closed_when_they_are_written(tmp_path) -> None:
    folder = tmp_path / "a"
    folder.mkdir(mode=0o755)
    (folder / "privacy.jsonl").touch(mode=0o644)
    Ledger(Budget(1e-5), FolderState(tmp_path, "a").file("privacy.jsonl")).record(
        1, Gaussian(1.0), "a sum", noise="system"
    )
    assert stat.S_IMODE((folder / "privacy.jsonl").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o660, 0o602, 0o666, 0o620])
def test_a_register_that_others_can_write_is_refused(tmp_path, mode) -> None:
    enrol(tmp_path)
    (tmp_path / REGISTER).write_text(register_line("a", identity_key(b"a" * 32)))
    (tmp_path / REGISTER).chmod(mode)
    with pytest.raises(Malformed, match=f"register.toml has mode {mode:04o}.*chmod go-w"):
        load_enrolment(tmp_path)
    with pytest.raises(Malformed, match="chmod go-w"):
        add(tmp_path / REGISTER, [register_line("b", identity_key(b"b" * 32))])
    (tmp_path / REGISTER).chmod(mode & ~0o022)
    assert list(load_enrolment(tmp_path).pinned) == ["a"]


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777, 0o1777])
def test_a_folder_that_others_can_write_is_refused(tmp_path, mode) -> None:
    enrol(tmp_path / "device")
    (tmp_path / "device").chmod(mode)
    for act in (load_enrolment, enrol):
        with pytest.raises(Malformed, match=f"device has mode {mode:04o}.*chmod go-w"):
            act(tmp_path / "device")


def test_so_is_one_above_it_and_one_on_the_way_of_a_link(tmp_path) -> None:
    home, links = tmp_path / "home", tmp_path / "links"
    links.mkdir()
    enrol(home / "deep" / "device")
    (links / "device").symlink_to(home / "deep" / "device")
    load_enrolment(links / "device")
    home.chmod(0o777)
    for folder in (home / "deep" / "device", links / "device"):
        with pytest.raises(Malformed, match="home has mode 0777"):
            load_enrolment(folder)
    home.chmod(0o1777)  # sticky, as /tmp is: others cannot rename what is not theirs
    load_enrolment(home / "deep" / "device")
    home.chmod(0o700)
    links.chmod(0o777)
    with pytest.raises(Malformed, match="links has mode 0777"):
        load_enrolment(links / "device")


@pytest.mark.parametrize("key", ["policy", "enrolment"])
def test_a_policy_that_others_could_put_another_in_the_place_of_is_refused(key, tmp_path) -> None:
    folder = private_folder(tmp_path / "device")
    (folder / POLICY).write_text("most_answers = 3\n")
    config = {key: str(folder / POLICY if key == "policy" else folder)}
    assert node_guard(config).policy.most_answers == 3
    folder.chmod(0o777)
    with pytest.raises(PolicyError, match="device has mode 0777"):
        node_guard(config)
    (folder / POLICY).unlink()
    with pytest.raises(PolicyError):
        node_guard(config)


def test_a_policy_that_is_a_link_is_where_it_leads_to_and_never_none(tmp_path) -> None:
    folder, place = private_folder(tmp_path / "device"), private_folder(tmp_path / "other")
    (folder / POLICY).symlink_to(place / "ours.toml")
    with pytest.raises(PolicyError, match="cannot be read"):  # and not the rules of a device without one
        node_guard({"enrolment": str(folder)})
    (place / "ours.toml").write_text("most_answers = 3\n")
    assert node_guard({"enrolment": str(folder)}).policy.most_answers == 3
    place.chmod(0o777)
    with pytest.raises(PolicyError, match="other has mode 0777"):
        node_guard({"enrolment": str(folder)})


def test_an_account_that_others_could_set_back_is_refused(tmp_path) -> None:
    file = private_folder(tmp_path / "accounts") / "privacy-samples.jsonl"
    assert account.require_file(file, seeded=False) == file
    (tmp_path / "accounts").chmod(0o777)
    with pytest.raises(LedgerError, match="accounts has mode 0777"):
        account.require_file(file, seeded=False)


@pytest.mark.skipif(os.geteuid() != 0 if os.name == "posix" else True, reason="only root can give files away")
def test_a_register_of_another_user_is_refused(tmp_path) -> None:
    enrol(tmp_path)
    (tmp_path / REGISTER).write_text("")
    os.chown(tmp_path / REGISTER, 12345, -1)
    with pytest.raises(Malformed, match="belongs to another user"):
        load_enrolment(tmp_path)


def test_a_register_is_written_so_that_it_can_be_read_again(tmp_path, umask) -> None:
    add(tmp_path / REGISTER, [register_line("a", identity_key(b"a" * 32))])
    assert list(load_register(tmp_path / REGISTER)) == ["a"]
    assert stat.S_IMODE((tmp_path / REGISTER).stat().st_mode) == 0o644
