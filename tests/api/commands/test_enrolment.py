"""`hedgerow enrol` and `hedgerow register`: from three devices to the file that each of them pins."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hedgerow.client.secure.enrolment import load_enrolment
from hedgerow.client.secure.register_file import (
    add,
    fingerprint,
    load_register,
    read_line,
    register_line,
    remove,
)
from hedgerow.secure.errors import Malformed
from hedgerow.secure.primitives import identity_key
from tests.api.commands.command import hedgerow

NAMES = ("kitchen", "the garage", "Jörg's shed")
KEYS = {name: identity_key(bytes([i + 1] * 32)) for i, name in enumerate(NAMES)}
LINES = [register_line(name, key) for name, key in KEYS.items()]


def test_three_devices_come_to_know_each_other() -> None:
    lines = []
    for i, name in enumerate(NAMES):
        result = hedgerow("enrol", name, f"device-{i}")
        assert result.exit_code == 0, result.output
        assert "hedgerow register add register.toml" in result.stderr
        assert len(result.stdout.splitlines()) == 1
        lines.append(result.stdout)
    # One by its argument, two by a pipe.
    assert "added 'kitchen'; register.toml has 1 client" in hedgerow(
        "register", "add", "register.toml", lines[0]
    ).stdout.replace("\n", " ")
    assert hedgerow("register", "add", "register.toml", "-", stdin="".join(lines[1:])).exit_code == 0
    register = load_register(Path("register.toml"))
    assert tuple(register) == NAMES
    for i, name in enumerate(NAMES):
        Path(f"device-{i}/register.toml").write_bytes(Path("register.toml").read_bytes())
        enrolment = load_enrolment(Path(f"device-{i}"))
        assert enrolment.pinned == register
        assert identity_key(enrolment.secret) == register[name]
        checked = hedgerow("enrol", name, f"device-{i}")
        assert checked.exit_code == 0
        assert checked.stdout == lines[i]
        assert f"is one of 3 clients, fingerprint {fingerprint(register)}" in checked.stderr
    listed = hedgerow("register", "list", "register.toml").stdout
    assert listed.splitlines()[-1] == f"3 clients, fingerprint {fingerprint(register)}"
    assert json.loads(hedgerow("register", "list", "register.toml", "--json").stdout) == {
        name: key.hex() for name, key in register.items()
    }


def test_a_key_is_its_owners_only_and_never_overwritten() -> None:
    before = os.umask(0)
    try:
        assert hedgerow("enrol", "kitchen", "device").exit_code == 0
    finally:
        os.umask(before)
    key = Path("device/identity.key")
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.parent.stat().st_mode & 0o777 == 0o700
    secret = key.read_bytes()
    assert hedgerow("enrol", "kitchen", "device").exit_code == 0
    assert key.read_bytes() == secret

    key.chmod(0o644)
    refused = hedgerow("enrol", "kitchen", "device")
    assert refused.exit_code == 2
    assert not refused.stdout
    assert "has mode 0644" in refused.stderr
    assert "chmod 600 device/identity.key" in refused.stderr
    with pytest.raises(Malformed, match="mode 0644"):
        load_enrolment(Path("device"))

    key.chmod(0o600)
    key.write_text("0123\n")
    refused = hedgerow("enrol", "kitchen", "device")
    assert refused.exit_code == 2
    assert "holds no secret key, which is 64 hex digits" in refused.stderr
    assert key.read_text() == "0123\n"


@pytest.mark.parametrize(
    ("command", "otherwise"),
    [
        (("enrol", "kitchen", "."), "enrol the device anew without it: hedgerow enrol NAME ."),
        (
            ("export", "heart", "--out", "graphs", "--sign", "identity.key"),
            "list that in the devices' policies",
        ),
        (("register", "sign", "register.toml", "--key", "identity.key"), "devices then take with new kits"),
    ],
)
@pytest.mark.parametrize(
    ("text", "mode", "told"),
    [("0123\n", 0o600, "restore it from a copy, or"), ("5a" * 32, 0o644, "if somebody may have read it,")],
)
def test_what_to_do_about_a_key_is_told_by_what_it_is_for(command, otherwise, text, mode, told) -> None:
    Path("register.toml").write_text(LINES[0])
    Path("identity.key").write_text(text)
    Path("identity.key").chmod(mode)
    said = " ".join(hedgerow(*command).stderr.split())
    assert f"{told} " in said
    assert said.endswith(otherwise)
    assert sum(word in said for word in ("enrol the device", "policies", "new kits")) == 1


@pytest.mark.parametrize(
    ("register", "text"),
    [
        (LINES[1], "has no client 'kitchen'"),
        (LINES[0], "has another key for 'kitchen'"),
        ('kitchen = "12"', "it must be 64 hex digits"),
    ],
)
def test_a_device_is_told_that_the_register_does_not_know_it(register: str, text: str) -> None:
    hedgerow("enrol", "kitchen", "device")
    Path("device/register.toml").write_text(register + "\n", encoding="utf-8")
    result = hedgerow("enrol", "kitchen", "device")
    assert result.exit_code == 2
    assert text in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("name", ["", " kitchen", "a\nb", "x" * 201])
def test_a_name_that_no_client_can_have_makes_no_key(name: str) -> None:
    result = hedgerow("enrol", name, "device")
    assert result.exit_code == 2
    assert "it must have 1 to 200 printable characters" in result.stderr
    assert not Path("device").exists()


OTHER = identity_key(bytes([9] * 32))


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("kitchen", "is not a line of a register"),
        ('cellar = "12"', "it must be 64 hex digits"),
        ('a.b = "12"', "it must be 64 hex digits"),
        (f'{LINES[0]}\n{LINES[1]}', "is not a line of a register"),
        (register_line("kitchen", OTHER), "hedgerow register remove register.toml kitchen"),
        (register_line("cellar", KEYS["kitchen"]), "the key of 'cellar' is that of 'kitchen'"),
    ],
)  # fmt: skip
def test_of_lines_with_a_mistake_none_is_added_and_each_mistake_is_told(line: str, text: str) -> None:
    Path("register.toml").write_text(f"# mine\n{LINES[0]}", encoding="utf-8")
    before = Path("register.toml").read_bytes()
    result = hedgerow("register", "add", "register.toml", LINES[1], line, "nonsense")
    assert result.exit_code == 2
    assert text in result.stderr
    assert "'nonsense' is not a line of a register" in result.stderr
    assert "register.toml is unchanged" in result.stderr
    assert Path("register.toml").read_bytes() == before


def test_a_change_leaves_other_lines_as_they_are() -> None:
    file = Path("register.toml")
    file.write_text(f"# the house\n{LINES[0]} # Pi 4\n\n# outside", encoding="utf-8")
    new, register = add(file, [LINES[0], *LINES[1:]])
    assert new == list(NAMES[1:])
    assert register == KEYS == load_register(file)
    written = file.read_text(encoding="utf-8")
    assert written.startswith(f"# the house\n{LINES[0]} # Pi 4\n\n# outside\n")
    assert add(file, LINES)[0] == []
    assert file.read_text(encoding="utf-8") == written

    assert hedgerow("register", "remove", "register.toml", "the garage").exit_code == 0
    assert file.read_text(encoding="utf-8") == written.replace(LINES[1] + "\n", "")
    assert tuple(load_register(file)) == (NAMES[0], NAMES[2])


def test_removing_says_what_is_wrong() -> None:
    file = Path("register.toml")
    missing = hedgerow("register", "remove", "register.toml", "kitchen")
    assert missing.exit_code == 2
    assert "register.toml does not exist; create it with: hedgerow register add" in missing.stderr
    file.write_text(f"{LINES[0]}\n", encoding="utf-8")
    wrong = hedgerow("register", "remove", "register.toml", "kitchn")
    assert wrong.exit_code == 2
    assert "Did you mean 'kitchen'?" in wrong.stderr
    file.write_text(f'kitchen = """\\\n  {KEYS["kitchen"].hex()}"""\n', encoding="utf-8")
    with pytest.raises(ValueError, match="does not have its own line"):
        remove(file, ["kitchen"])


def test_a_register_with_one_key_for_two_is_refused() -> None:
    file = Path("register.toml")
    file.write_text(f"{LINES[0]}\n{register_line('cellar', KEYS['kitchen'])}\n", encoding="utf-8")
    with pytest.raises(Malformed, match="'kitchen' and 'cellar' have the same key"):
        load_register(file)
    assert "have the same key" in hedgerow("register", "list", "register.toml").stderr


@pytest.mark.parametrize("name", [*NAMES, "client-0007", "a.b", '"', "\\", "#", "=", "日本"])
def test_a_line_is_read_as_it_was_written(name: str) -> None:
    assert read_line(register_line(name, OTHER)) == (name, OTHER)


def test_a_device_needs_neither_torch_nor_flower_for_it() -> None:
    code = (
        "import sys; from hedgerow.experiments.cli.main import main\ntry: main()\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'flwr', 'matplotlib', 'plotly', 'pydantic', 'scipy', 'pyarrow', 'ray'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    for arguments in (["enrol", "kitchen", "device"], ["register", "add", "register.toml", LINES[0]]):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
        )
        assert done.stdout.splitlines()[-1] == "[]"
    assert Path("device/identity.key").is_file()
    assert Path("register.toml").is_file()
