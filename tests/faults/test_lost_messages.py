"""A message that a device was handed and has lost is handed to it again; one that it has is not."""

import asyncio
import time
from collections.abc import Sequence

import httpx
import pytest

from hedgerow.coordinator.folder import FederationFolder
from hedgerow.coordinator.gateway import Gateway
from hedgerow.coordinator.http_types import Request
from hedgerow.coordinator.superlink import PULL, PUSH, link_address
from hedgerow.node.connection import Unreachable
from hedgerow.node.node import _ATTEMPTS, Node
from hedgerow.wire.fleet import FLEET
from tests.attacks.gateways import joined, signed
from tests.described_runs import OPEN
from tests.described_runs import joined as device_joined


def message(number: int) -> bytes:
    about = FLEET["Metadata"](message_id=f"message {number}", run_id=1)
    return bytes(
        FLEET["PullMessagesResponse"](
            messages_list=[FLEET["Message"](metadata=about)],
            message_object_trees=[FLEET["ObjectTree"](object_id="0" * 64)],
        ).SerializeToString()
    )


class SuperLink:
    """Hands out each message once."""

    def __init__(self, messages: Sequence[bytes], push_status: int = 200) -> None:
        self.messages, self.pulls, self.push_status = list(messages), 0, push_status

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == PULL:
            self.pulls += 1
            return httpx.Response(200, content=self.messages.pop(0) if self.messages else b"")
        return httpx.Response(self.push_status)


def asked(tmp_path, link: SuperLink, calls: Sequence[str], agent: str = "hedgerow") -> list[bytes]:
    """What a device gets for its calls, one after another."""
    folder = FederationFolder.make(tmp_path / "federation")
    key = joined(folder, "kitchen", tmp_path)
    transport = httpx.MockTransport(link)

    async def run() -> list[bytes]:
        gateway, found = Gateway(folder), []
        gateway._link = httpx.AsyncClient(base_url=link_address(folder), transport=transport)
        try:
            for path in calls:
                headers = {**signed(key), "user-agent": agent}
                request = Request("POST", path, headers, 0, "", gone=lambda: False)
                found.append((await gateway.answer(request, b"")).body)
        finally:
            await gateway.close()
        return found

    return asyncio.run(run())


def test_a_device_that_looks_again_before_it_has_answered_gets_its_message_again(tmp_path) -> None:
    first, second = message(1), message(2)
    link = SuperLink([first, second])
    assert asked(tmp_path, link, [PULL, PULL, PUSH, PULL, PUSH, PULL]) == [
        first,
        first,
        b"",
        second,
        b"",
        b"",
    ]
    assert link.pulls == 3


def test_a_message_that_a_device_can_do_nothing_with_is_not_given_to_it_for_ever(tmp_path) -> None:
    first, second = message(1), message(2)
    found = asked(tmp_path, SuperLink([first, second]), [PULL] * 6)
    assert found == [first] * 4 + [second] * 2


@pytest.mark.parametrize("status", [403, 500])
def test_who_tries_to_answer_has_the_message_whatever_becomes_of_the_answer(tmp_path, status) -> None:
    first, second = message(1), message(2)
    assert asked(tmp_path, SuperLink([first, second], status), [PULL, PUSH, PULL])[-1] == second


def test_flowers_own_nodes_which_do_several_things_at_a_time_are_given_each_once(tmp_path) -> None:
    messages = [message(number) for number in (1, 2)]
    assert asked(tmp_path, SuperLink(messages), [PULL, PULL, PULL], agent="python") == [*messages, b""]


class Fleet:
    """A server whose disk is full: what it must write it has errors with."""

    node, pace = 1, 0.0

    def __init__(self, *, full: bool) -> None:
        self.full, self.pushed = full, 0

    def heartbeat(self) -> bool:
        if self.full:
            raise Unreachable("full", status=500)
        return True

    def push(self, *given: object) -> None:
        self.pushed += 1
        raise Unreachable("an error of the server's", status=500)

    def confirm(self, *given: object) -> None:
        raise AssertionError


@pytest.fixture
def node(tmp_path) -> Node:
    return Node(device_joined(tmp_path, OPEN)._device)


def settled(node: Node):
    about = FLEET["Metadata"](message_id="one", run_id=1)
    come = node._outbox.receive(FLEET["Message"](metadata=about), FLEET["ObjectTree"](object_id="0" * 64))
    return node._outbox.settle(come, error="refused", seconds=0.0)


@pytest.mark.parametrize("full", [True, False])
def test_an_answer_is_given_up_for_an_error_of_the_servers_only_where_that_is_well_otherwise(
    node, full
) -> None:
    come, fleet = settled(node), Fleet(full=full)
    for _ in range(2 * _ATTEMPTS):
        if node._outbox.pending():
            try:
                node._finish(fleet, come)
            except Unreachable:
                continue
    assert bool(node._outbox.pending()) == full
    assert fleet.pushed == (2 * _ATTEMPTS if full else _ATTEMPTS)


def test_a_message_that_a_full_disk_has_no_room_for_is_kept_until_there_is(node, monkeypatch) -> None:
    """The server does not hand it out again while the device lives."""
    pulls, finished = [], []

    class Handing:
        node, pace, model = 1, 0.0, ""

        def pull(self):
            pulls.append(time.monotonic())
            return (FLEET["Message"](metadata=FLEET["Metadata"](message_id="one")), FLEET["ObjectTree"]())

    real, full = node._outbox.receive, [True, True, False]

    def receive(*given):
        if full.pop(0):
            raise OSError(28, "No space left on device")
        return real(*given)

    def finish(fleet, come):
        finished.append(come.id)
        node._stop.set()

    monkeypatch.setattr(node._outbox, "receive", receive)
    monkeypatch.setattr(node, "_finish", finish)
    monkeypatch.setattr(node, "_beat", lambda *given: None)
    backoff = type("Backoff", (), {"reset": lambda self: None})()
    for _ in range(2):
        with pytest.raises(OSError, match="No space left"):
            node._serve(Handing(), backoff)
    node._serve(Handing(), backoff)
    assert (len(pulls), finished) == (1, ["one"])


def test_a_node_that_cannot_say_what_it_does_goes_on_doing_it(tmp_path) -> None:
    """Its log is on the disk that is full."""

    def full(text: str) -> None:
        raise OSError(28, "No space left on device")

    node = Node(device_joined(tmp_path, OPEN)._device, full)
    node._wait(0.0, "the disk is full")
    node._tell("another line")
    assert node._said == "another line"
