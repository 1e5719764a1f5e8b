"""Messages that a gateway has beside the SuperLink: each is given once, whole or not at all."""

import asyncio

import httpx
import pytest

from hedgerow.coordinator.folder import FederationFolder
from hedgerow.coordinator.gateway import Gateway
from hedgerow.coordinator.http_types import Request
from hedgerow.coordinator.mail import FOLDER, Mail
from hedgerow.coordinator.members import load_members
from hedgerow.coordinator.superlink import PULL, PUSH, link_address
from hedgerow.coordinator.turns import Turns
from tests.attacks.gateways import joined, signed
from tests.faults.test_lost_messages import message


@pytest.fixture
def folder(tmp_path) -> FederationFolder:
    return FederationFolder.make(tmp_path / "federation")


def test_the_last_message_of_a_node_is_there_once(folder) -> None:
    mail = Mail(folder)
    mail.clear()
    assert mail.take(2**64 - 1) is None
    mail.put(2**64 - 1, b"first")
    mail.put(2**64 - 1, b"second")
    mail.put(7, b"another's")
    assert mail.take(2**64 - 1) == b"second"
    assert mail.take(2**64 - 1) is None
    mail.clear()
    assert mail.take(7) is None


@pytest.mark.parametrize("left", [b"", b"\0" * 40, b"cut"])
def test_what_is_not_whole_is_left_to_the_superlink(folder, left) -> None:
    mail = Mail(folder)
    mail.put(7, b"a message")
    (folder.path / FOLDER / f"{7:016x}").write_bytes(left)
    assert mail.take(7) is None


@pytest.mark.parametrize("agent", ["hedgerow", "python-httpx"])
def test_a_message_that_is_here_is_not_asked_for_and_is_given_again_where_it_was_lost(
    folder, tmp_path, agent
) -> None:
    key = joined(folder, "kitchen", tmp_path)
    node = load_members(folder).devices["kitchen"].node_id
    calls = []

    def link(request: httpx.Request) -> httpx.Response:
        calls.append(request.url.path)
        return httpx.Response(200, content=b"")

    async def run() -> list[bytes]:
        gateway, found = Gateway(folder), []
        gateway._link = httpx.AsyncClient(base_url=link_address(folder), transport=httpx.MockTransport(link))
        gateway._pace.held = lambda devices: (0.01, 0.0)
        Mail(folder).put(node, message(1))
        for path in (PULL, PULL, PUSH, PULL):
            headers = {**signed(key), "user-agent": agent, "prefer": "wait=30"}
            request = Request("POST", path, headers, 0, "", gone=lambda: False)
            found.append((await gateway.answer(request, b"")).body)
        await gateway.close()
        return found

    found = asyncio.run(run())
    if agent == "hedgerow":
        assert found == [message(1), message(1), b"", b""]
        assert calls == [PUSH, PULL]
    else:
        assert found == [b""] * 4, "Flower's own node is handed what the SuperLink hands it"
        assert calls == [PULL, PULL, PUSH, PULL]


def test_callers_go_on_in_turn_while_few_calls_are_open() -> None:
    async def main() -> None:
        turns, ended = Turns(), asyncio.Event()
        calls = [asyncio.create_task(turns.call(ended.wait())) for _ in range(20)]
        await asyncio.sleep(0)
        order: list[int] = []

        async def waits(number: int) -> None:
            await turns.turn()
            order.append(number)

        callers = [asyncio.create_task(waits(number)) for number in range(5)]
        for _ in range(10):
            await asyncio.sleep(0.01)
        assert not order, "the SuperLink is busy"
        ended.set()
        await asyncio.gather(*calls, *callers)
        assert order == [0, 1, 2, 3, 4]

    asyncio.run(main())
