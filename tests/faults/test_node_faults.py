"""What befalls a device in the field: one sentence on it each, no round that hangs, nothing done twice."""

import time
from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest

from hedgerow.coordinator.members import leave
from hedgerow.node import connection, keys
from hedgerow.recipe.announcement import RECORD
from hedgerow.wire.bundle import READS
from hedgerow.wire.content import ConfigRecord, Content
from tests.coordinators import Coordinator, Living
from tests.described_runs import Mean, announced, asked, installed, train
from tests.full_disks import full_disk


@pytest.fixture
def real(tmp_path) -> Coordinator:
    return Coordinator.make(tmp_path)


@pytest.fixture
def clock(monkeypatch) -> SimpleNamespace:
    """The device's clock, `off` seconds from the server's."""
    shown = SimpleNamespace(off=0.0)

    class Shifted(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(seconds=shown.off)

    monkeypatch.setattr(keys, "datetime", Shifted)
    monkeypatch.setattr(connection, "time", SimpleNamespace(time=lambda: time.time() + shown.off))
    return shown


def answers(real: Coordinator, node: Living, number: int) -> None:
    """Have the device train in a round."""
    real.ask("train", asked(announced(), train(number)), str(number))
    node.until(lambda: len(real.link.answers) == number)
    assert not real.link.answers[-1].HasField("error")


@pytest.mark.parametrize("off", [600.0, -600.0])
def test_a_clock_that_is_wrong_is_said_to_be_and_once_it_is_right_work_goes_on(
    real, clock, tmp_path, off
) -> None:
    clock.off, how = off, "ahead of" if off > 0 else "behind"
    with installed(), real.serving(), real.living(real.device(tmp_path)) as node:
        node.until(f"this device's clock is 10 min {how} the server's")
        assert len(node.said) == 1
        clock.off = 0.0
        node.until("is connected to")
        answers(real, node, 1)


def test_a_clock_before_the_day_of_joining_is_said_to_be_and_the_node_still_ends_when_told(
    real, tmp_path
) -> None:
    device = real.device(tmp_path)
    device.change(since=time.time() + 1000)
    with real.serving(), real.living(device) as node:
        node.until("before the day on which this device joined: waiting for the network's time")
    assert real.link.calls == []
    device.change(since=time.time() + 5.2)
    with real.serving(), real.living(device) as node:
        node.until("is connected to")


def test_while_the_server_is_away_a_device_waits_and_answers_when_it_is_back(real, tmp_path) -> None:
    with installed(), real.living(real.device(tmp_path)) as node:
        for number in (1, 2):
            node.until("does not answer")
            away = [line for line in node.said if "does not answer" in line]
            assert len(away) <= 2, "refused, and at most once cut off"
            node.forget()
            with real.serving():
                node.until("is connected to")
                answers(real, node, number)
                node.forget()


def test_another_servers_certificate_is_said_to_be_one_and_nothing_is_sent(real, tmp_path) -> None:
    device, other = real.device(tmp_path), real.another_certificate(tmp_path)
    with installed(), real.living(device) as node:
        with real.serving(other):
            node.until("is not the server in the kit")
            assert real.link.calls == []
        node.forget()
        with real.serving():
            answers(real, node, 1)


def test_a_key_that_is_revoked_in_a_round_is_said_to_be_and_the_round_goes_on_without_it(
    real, tmp_path, monkeypatch
) -> None:
    device = real.device(tmp_path)

    def revoked(trainer, *given, **options):
        leave(real.folder, "kitchen")
        return fit(trainer, *given, **options)

    fit = Mean.fit
    monkeypatch.setattr(Mean, "fit", revoked)
    with installed(), real.serving(), real.living(device) as node:
        real.ask("train", asked(announced(), train()))
        node.until("the server refuses (401): this key has not joined, or was revoked")
        assert "it needs a new kit: hedgerow leave, and join with that" in node.said[-1]
        assert real.link.answers == []


def test_while_a_devices_disk_is_full_nothing_is_sent_and_with_room_it_is_once(real, tmp_path) -> None:
    with installed(), real.serving(), real.living(real.device(tmp_path)) as node:
        answers(real, node, 1)
        with full_disk():
            real.ask("train", asked(announced(), train(2)), "2")
            node.until("File too large")
            assert len(real.link.answers) == 1
        node.until(lambda: len(real.link.answers) == 2)
    assert [answer.metadata.group_id for answer in real.link.answers] == ["1", "2"]


def unbundled(content: Content) -> Content:
    """A request whose server takes answers in many objects."""
    record = {key: value for key, value in content[RECORD].items() if key != READS}
    return {**content, RECORD: ConfigRecord(record)}


@pytest.mark.parametrize("taken", range(5))
def test_an_upload_that_is_cut_off_goes_on_where_it_was_after_a_restart_too(real, tmp_path, taken) -> None:
    device, real.link.takes = real.device(tmp_path), taken
    with installed(), real.serving():
        with real.living(device) as node:
            real.ask("train", unbundled(asked(announced(), train())))
            node.until("is busy (503)")
        assert len(real.link.stored) == taken
        real.link.takes = None
        with real.living(device) as node:
            node.until(lambda: len(real.link.answers) == 1)
    assert len(real.link.stored) == len(set(real.link.stored)) > 5
    assert Mean.fits == 1
