"""A device gets each message once, whoever hands it out, and one run's messages keep back no other run's."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from flwr.proto.fleet_pb2 import PullMessagesResponse

from hedgerow.coordinator.bell import Bell, ring
from hedgerow.coordinator.folder import FederationFolder
from hedgerow.coordinator.mail import Mail
from hedgerow.coordinator.next_message import NextMessage
from hedgerow.coordinator.superlink import message_id

NODE = 5


def answer(name: str = "") -> bytes:
    made = PullMessagesResponse()
    if name:
        made.messages_list.add().metadata.message_id = name
    return made.SerializeToString()


class Gateway:
    """A gateway's mail and bell, and a SuperLink that hands out each message once."""

    def __init__(self, folder: FederationFolder) -> None:
        self.folder, self.mail, self.bell = folder, Mail(folder), Bell(folder)
        self.next, self.superlink, self.asked = NextMessage(self.mail, self.bell), list[str](), 0

    async def send(self, name: str, by_mail: bool) -> None:
        """Send a message as a ServerApp does."""
        self.superlink.append(name)
        if by_mail:
            self.mail.put(NODE, answer(name))
        before = self.bell.announced(NODE)
        ring(self.folder, [NODE])
        while self.bell.announced(NODE) == before:
            await asyncio.sleep(0.001)

    async def poll(self) -> str:
        async def ask() -> httpx.Response:
            self.asked += 1
            return httpx.Response(200, content=answer(self.superlink.pop(0) if self.superlink else ""))

        if not await self.bell.wait(NODE, 0.01):
            raise AssertionError("replaced")
        return message_id((await self.next.of(NODE, ask)).content)


@asynccontextmanager
async def gateway(folder: FederationFolder) -> AsyncIterator[Gateway]:
    made = Gateway(folder)
    try:
        assert await made.poll() == ""  # who comes first looks at once
        made.asked = 0
        yield made
    finally:
        made.bell.close()


@pytest.fixture
def folder(tmp_path) -> FederationFolder:
    return FederationFolder.make(tmp_path / "federation")


def test_a_message_of_another_run_reaches_a_device_whose_own_run_always_has_one_by_mail(folder):
    async def main() -> None:
        async with gateway(folder) as made:
            await made.send("round 1", by_mail=True)
            assert await made.poll() == "round 1"
            await made.send("canary", by_mail=False)
            got = []
            for number in range(2, 5):  # each is there before the device has asked again
                await made.send(f"round {number}", by_mail=True)
                got.append(await made.poll())
            assert "canary" in got
            got += [await made.poll() for _ in range(4)]
            assert sorted(filter(None, got)) == ["canary", "round 2", "round 3", "round 4"]

    asyncio.run(main())


def test_what_a_device_had_by_mail_is_not_handed_out_again_by_the_superlink_nor_the_other_way_round(folder):
    async def main() -> None:
        async with gateway(folder) as made:
            await made.send("first", by_mail=True)
            assert [await made.poll() for _ in range(3)] == ["first", "", ""]
            made.superlink.append("second")
            assert await made.poll() == "second"  # the device asked before the mail was there
            made.mail.put(NODE, answer("second"))
            assert [await made.poll() for _ in range(2)] == ["", ""]

    asyncio.run(main())


def test_the_superlink_is_not_asked_for_a_message_that_came_by_mail(folder):
    async def main() -> None:
        async with gateway(folder) as made:
            for number in range(5):
                await made.send(f"round {number}", by_mail=True)
                assert await made.poll() == f"round {number}"
            assert made.asked == 0

    asyncio.run(main())


def test_a_device_that_was_away_looks_until_there_is_nothing_more_and_not_once_for_each_ring(folder):
    async def main() -> None:
        async with gateway(folder) as made:
            for number in range(5):
                await made.send(f"round {number}", by_mail=True)
            got = [await made.poll() for _ in range(6)]
            assert got == [f"round {number}" for number in range(5)] + [""]
            made.superlink.clear()
            for _ in range(20):
                await made.send("gone", by_mail=False)
            made.superlink.clear()
            assert await made.poll() == ""
            assert made.bell.announced(NODE) == 0

    asyncio.run(main())
