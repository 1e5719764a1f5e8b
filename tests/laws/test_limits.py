"""A device's limits: what is read of a machine, and when new work is refused."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.client.guard import Guard
from hedgerow.client.kinds import BEGINNINGS, KNOWN
from hedgerow.client.limits import Limits, NotAvailable
from hedgerow.client.machine import Machine, network_manager
from hedgerow.client.policy import Policy, PolicyError
from hedgerow.client.policy_file import load_policy

NOON = datetime(2026, 11, 29, 12, 0)
minutes = st.integers(0, 24 * 60 - 1)


def machine(root: Path, *, now: datetime = NOON, metered: bool | None = False) -> Machine:
    return Machine(root, lambda: now, lambda: metered)


def shows(root: Path, **files: str) -> Path:
    """A folder such as /sys; `__` in a name stands for `/`."""
    for name, text in files.items():
        file = root / "class" / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")
    return root


def text(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


@given(begin=minutes, length=st.integers(1, 24 * 60 - 1), at=minutes)
def test_hours_are_quiet_from_their_begin_to_their_end_over_midnight_too(begin, length, at) -> None:
    limits = Limits(quiet=(f"{text(begin)}-{text((begin + length) % 1440)}",))
    now = datetime(2026, 11, 29) + timedelta(minutes=at)
    assert bool(limits.reasons(machine(Path("/nowhere"), now=now))) == ((at - begin) % 1440 < length)


def test_the_hottest_sensor_counts_and_new_work_begins_when_it_is_cooler(tmp_path) -> None:
    limits, hot = Limits(temperature=70.0), shows(
        tmp_path, thermal__thermal_zone0__temp="48312", thermal__thermal_zone1__temp="70000",
        thermal__thermal_zone2__temp="", thermal__cooling_device0__cur_state="99000",
    )  # fmt: skip
    (hot / "class/thermal/thermal_zone2/temp").unlink()
    (hot / "class/thermal/thermal_zone2/temp").mkdir()  # cannot be read, as a sensor that is off
    assert limits.reasons(machine(hot)) == {"temperature": "it is 70 °C here, and the limit is 70 °C"}
    shows(hot, thermal__thermal_zone1__temp="69999")
    assert limits.reasons(machine(hot)) == {}
    assert set(limits.reasons(machine(hot), {"temperature"})) == {"temperature"}
    shows(hot, thermal__thermal_zone1__temp="64900")
    assert limits.reasons(machine(hot), {"temperature"}) == {}


@pytest.mark.parametrize(
    ("files", "mains"),
    [
        ({}, True),
        ({"AC__type": "Mains", "AC__online": "1"}, True),
        ({"AC__type": "Mains", "AC__online": "0", "B__type": "Battery", "B__status": "Discharging"}, False),
        ({"usb__type": "USB", "usb__online": "1", "B__type": "Battery", "B__status": "Discharging"}, True),
        ({"B__type": "Battery", "B__status": "Not charging"}, True),
        ({"B__type": "Battery", "B__status": "Discharging"}, False),
        ({"m__type": "Battery", "m__status": "Discharging", "m__scope": "Device"}, True),
    ],
)  # fmt: skip
def test_a_machine_is_on_mains_unless_it_drains_a_battery_of_its_own(tmp_path, files, mains) -> None:
    root = shows(tmp_path, **{f"power_supply__{name}": text for name, text in files.items()})
    assert Limits().reasons(machine(root)) == {}
    assert bool(Limits(on_mains=True).reasons(machine(root))) != mains


def test_what_cannot_be_known_is_refused_and_said(tmp_path) -> None:
    limits = Limits(temperature=70, unmetered=True)
    told = limits.reasons(machine(tmp_path, metered=None))
    assert set(told) == {"temperature", "unmetered"}
    assert all("of [limits] to take part" in why for why in told.values())
    assert limits.reasons(machine(tmp_path, metered=True))["unmetered"] == "the link is metered"
    assert set(limits.reasons(machine(tmp_path, metered=False))) == {"temperature"}


@pytest.mark.parametrize(
    ("said", "metered"),
    [("u 1", True), ("u 2", False), ("u 3", True), ("u 4", False), ("u 0", None), ("", None)],
)
def test_networkmanager_is_asked_as_busctl_answers(tmp_path, monkeypatch, said, metered) -> None:
    program = tmp_path / "busctl"
    program.write_text(f'#!/bin/sh\ntest "$7" = Metered && test "$4" = "$6" && echo "{said}"\n')
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    program.chmod(0o755)
    assert network_manager() is metered
    monkeypatch.setenv("PATH", "/nowhere")
    assert network_manager() is None


def test_only_new_work_is_refused_and_the_reason_is_no_part_of_what_is_sent(tmp_path) -> None:
    guard = Guard(replace(Policy(), limits=Limits(quiet=("00:00-23:59",))))
    for kind in (*KNOWN, "query"):
        if kind not in BEGINNINGS:
            guard.available(kind, machine(tmp_path))
            continue
        with pytest.raises(NotAvailable):
            guard.available(kind, machine(tmp_path))
    assert set(BEGINNINGS) == {"train", "evaluate", "train.keys", "evaluate.keys"}


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("memory = 64", "memory is 64; it must be a whole number of at least 128"),
        ("threads = 0", "threads is 0"),
        ("temperature = -3.0", "temperature is -3.0"),
        ("on_mains = 1", "on_mains is 1; it must be true or false"),
        ('unmetered = "yes"', "unmetered is 'yes'"),
        ('quiet = "22:00-06:00"', "quiet is '22:00-06:00'; it must be a list of strings"),
        ('quiet = ["24:00-06:00"]', "ranges of hours, such as '22:00-06:00'"),
        ("quiet = [7]", "quiet has 7"),
        ("quite = []", "there is no limit 'quite'; .* Did you mean 'quiet'?"),
    ],
)
def test_a_limit_that_cannot_be_is_refused(tmp_path, line, told) -> None:
    (tmp_path / "policy.toml").write_text(f"[limits]\n{line}\n")
    with pytest.raises(PolicyError, match=told):
        load_policy(tmp_path / "policy.toml")
    (tmp_path / "policy.toml").write_text("limits = 3\n")
    with pytest.raises(PolicyError, match=r"limits is 3; it must be a table, \[limits\]"):
        load_policy(tmp_path / "policy.toml")
