"""A device outside its own limits: it leaves, tells why to its person alone, and comes back by itself."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from hedgerow.client.limits import Limits
from hedgerow.client.machine import Machine
from hedgerow.node.availability import Availability
from tests.coordinators import Coordinator, Living, set_policy
from tests.described_runs import OPEN, announced, asked, installed, train

COOL = replace(OPEN, limits=Limits(temperature=60.0))


class Sensor:
    """A machine with one sensor, as the kernel shows it."""

    def __init__(self, root: Path) -> None:
        self._file = root / "class" / "thermal" / "thermal_zone0" / "temp"
        self._file.parent.mkdir(parents=True)
        self.machine = Machine(root)
        self.shows(40)

    def shows(self, degrees: int) -> None:
        self._file.write_text(f"{degrees * 1000}\n")


def at_once(device, sensor: Sensor) -> Availability:
    return Availability(device, sensor.machine, fresh=0.0, look=0.02, jitter=0.05)


def test_a_device_that_is_too_hot_leaves_and_comes_back_when_it_is_cooler(tmp_path) -> None:
    real, sensor = Coordinator.make(tmp_path), Sensor(tmp_path / "sys")
    device = real.device(tmp_path, COOL)
    with installed(), real.serving(), real.living(device, at_once(device, sensor)) as node:
        answers(real, node, 1)
        node.forget()
        sensor.shows(61)
        real.ring()  # ends the call that waits for a message
        node.until(lambda: real.link.calls[-1] == "deactivate-node")
        node.until("takes no new work: it is 61 °C here, and the limit is 60 °C")
        sensor.shows(58)  # below the limit, and not by much
        real.ask("train", asked(announced(), train(2)), "2")
        node.forget()
        assert real.link.calls[-1] == "deactivate-node"
        sensor.shows(50)
        node.until("is connected to")
        node.until(lambda: len(real.link.answers) == 2)
        assert not real.link.answers[-1].HasField("error")
    told = b"".join([*(answer.SerializeToString() for answer in real.link.answers), *real.link.contents])
    assert b"temperature" not in told
    assert "°C".encode() not in told


def test_what_reaches_a_device_that_has_just_left_its_limits_is_not_begun(tmp_path) -> None:
    real, sensor = Coordinator.make(tmp_path), Sensor(tmp_path / "sys")
    device = real.device(tmp_path, COOL)
    late = Availability(device, sensor.machine, fresh=600.0)
    with installed(), real.serving(), real.living(device, late) as node:
        answers(real, node, 1)
        sensor.shows(99)
        real.ask("train", asked(announced(), train(2)), "2")
        node.until(lambda: len(real.link.answers) == 2)
    error = real.link.answers[-1].error
    assert error.reason == "NotAvailable: The device takes no new work now."


def test_a_masked_round_that_was_begun_is_finished_or_given_up_in_time(tmp_path) -> None:
    real, sensor = Coordinator.make(tmp_path), Sensor(tmp_path / "sys")
    available = at_once(real.device(tmp_path, COOL), sensor)
    assert not available.ended()
    sensor.shows(99)
    for begun, stages in (("train.keys", ("train.shares", "train.masked", "train.survivors")),
                          ("evaluate.keys", ("evaluate.shares",))):  # fmt: skip
        for stage in (begun, *stages):
            available.answered(stage)
            assert not available.ended(), stage
        available.answered(f"{begun.partition('.')[0]}.unmask")
        assert available.ended()
    available.answered("train.keys")
    available.wait(threading.Event(), pytest.fail)  # the link has dropped: it goes on with the round
    available.answered("train.failed")
    available.answered("query.sizes")
    assert available.ended()
    given_up = Availability(real.device(tmp_path, COOL, "shed"), sensor.machine, patience=0.0)
    given_up.answered("train.keys")
    assert given_up.ended()


def test_a_policy_that_cannot_be_read_ends_new_work_until_it_can(tmp_path) -> None:
    real, sensor = Coordinator.make(tmp_path), Sensor(tmp_path / "sys")
    device = real.device(tmp_path, COOL)
    with installed(), real.serving(), real.living(device, at_once(device, sensor)) as node:
        answers(real, node, 1)
        (device.folder / "policy.toml").write_text("[limits]\nquiet = ['noon']\n")
        real.ring()
        node.until("takes no new work: ")
        assert "cannot be read: quiet has 'noon'" in node.said[-1]
        node.forget()
        set_policy(device, COOL)
        node.until("is connected to")


def answers(real: Coordinator, node: Living, number: int) -> None:
    """Have the device train in a round."""
    real.ask("train", asked(announced(), train(number)), str(number))
    node.until(lambda: len(real.link.answers) == number)
    assert not real.link.answers[-1].HasField("error")
