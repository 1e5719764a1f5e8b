"""A device's call for a message is held until there is one: whoever has gone takes none with it."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from hedgerow.coordinator.bell import Bell, ring
from hedgerow.coordinator.certificates import gateway_certificate
from hedgerow.coordinator.folder import FederationFolder
from hedgerow.coordinator.gateway import Gateway
from hedgerow.coordinator.http import HttpServer
from hedgerow.coordinator.http_types import Refused, Reply, Request
from hedgerow.coordinator.store import ObjectStore
from hedgerow.coordinator.superlink import PULL, link_address
from tests.attacks.gateways import Raw, joined, signed

LONG = 60.0


@pytest.fixture
def folder(tmp_path) -> FederationFolder:
    return FederationFolder.make(tmp_path / "federation")


@asynccontextmanager
async def listening(folder: FederationFolder) -> AsyncIterator[Bell]:
    bell = Bell(folder)
    try:
        for node in (1, 2, 2**64 - 1):
            assert await bell.wait(node, LONG), "who comes first looks at once"
        yield bell
    finally:
        bell.close()


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0.005)


def test_whoever_is_rung_for_is_woken_and_nobody_else(folder) -> None:
    async def main() -> None:
        async with listening(folder) as bell:
            calls = [asyncio.create_task(bell.wait(node, LONG)) for node in (1, 2**64 - 1)]
            await settle()
            ring(folder, [2**64 - 1])
            assert await calls[1] is True
            assert not calls[0].done()
            ring(folder, [7, 1])
            assert await calls[0] is True

    asyncio.run(main())


def test_a_ring_while_nobody_waits_is_heard_by_the_next_call(folder) -> None:
    async def main() -> None:
        async with listening(folder) as bell:
            ring(folder, [2])
            await settle()
            assert await bell.wait(2, LONG) is True
            call = asyncio.create_task(bell.wait(2, LONG))
            await settle()
            assert not call.done(), "it is heard once"
            ring(folder, [2, 2])
            assert await call is True
            assert await bell.wait(2, LONG) is True, "two messages are two looks"

    asyncio.run(main())


def test_a_second_call_of_a_node_takes_the_place_of_the_first(folder) -> None:
    async def main() -> None:
        async with listening(folder) as bell:
            first = asyncio.create_task(bell.wait(1, LONG))
            await settle()
            second = asyncio.create_task(bell.wait(1, LONG))
            assert await first is False
            ring(folder, [1])
            assert await second is True
            assert await bell.wait(1, 0.01) is True, "after a while it looks by itself"

    asyncio.run(main())


def test_a_bell_that_is_not_the_federations_is_not_heard_and_none_is_no_error(folder) -> None:
    ring(folder, [1])
    (folder.path / "bell.json").write_text('["no", "bell"]')
    ring(folder, [1])

    async def main() -> None:
        async with listening(folder) as bell:
            call = asyncio.create_task(bell.wait(1, LONG))
            about = folder.read("bell.json", {})
            folder.write("bell.json", {**about, "key": "00" * 16})
            ring(folder, [1])
            bell._in.sendto(struct.pack("<B", 1), ("127.0.0.1", about["port"]))
            await settle()
            assert not call.done()
            folder.write("bell.json", about)
            ring(folder, range(5000))
            assert await call is True

    asyncio.run(main())


def test_an_object_is_fetched_once_however_many_ask_and_only_what_came_is_kept() -> None:
    fetched: list[str] = []
    answers = {"there": b"there!", "later": b"", "big": b"b" * 90}

    async def main() -> None:
        store = ObjectStore(100, lambda content: bool(content))

        async def get(name: str) -> bytes:
            async def fetch() -> httpx.Response:
                fetched.append(name)
                await asyncio.sleep(0.01)
                return httpx.Response(200, content=answers[name])

            return (await store.get((1, name), fetch)).content

        assert await asyncio.gather(*(get("there") for _ in range(5))) == [b"there!"] * 5
        assert fetched == ["there"]
        assert await asyncio.gather(get("later"), get("later")) == [b"", b""]
        assert fetched == ["there", "later", "later"]
        assert (await get("there"), len(fetched)) == (b"there!", 3)
        await get("big")
        await get("there")
        assert fetched[3:] == ["big"], "there is room for both"
        answers["more"] = b"m" * 90
        await get("more")
        await get("big")
        assert fetched[4:] == ["more", "big"]

    asyncio.run(main())


def test_a_fetch_that_fails_leaves_nothing_behind() -> None:
    async def main() -> None:
        store = ObjectStore(100, lambda content: True)

        async def fails() -> httpx.Response:
            raise httpx.ConnectError("gone")

        async def works() -> httpx.Response:
            return httpx.Response(200, content=b"x")

        with pytest.raises(httpx.ConnectError):
            await store.get((1, "a"), fails)
        assert (await store.get((1, "a"), works)).content == b"x"

    asyncio.run(main())


def test_who_comes_back_after_its_call_was_rung_for_in_vain_is_not_held(folder, tmp_path) -> None:
    """As where a link has dropped while the device waited: its message waits for the next call."""
    key = joined(folder, "kitchen", tmp_path)

    async def main() -> None:
        gateway, left = Gateway(folder), asyncio.Event()
        answers = httpx.MockTransport(lambda request: httpx.Response(200))
        gateway._link = httpx.AsyncClient(base_url=link_address(folder), transport=answers)
        headers = {**signed(key), "user-agent": "hedgerow", "prefer": "wait=30"}
        first = Request("POST", PULL, headers, 0, "", gone=left.is_set)
        try:
            await gateway.answer(first, b"")  # who comes first looks at once
            call = asyncio.create_task(gateway.answer(first, b""))
            await settle()
            left.set()
            ring(folder, [7])
            with pytest.raises(Refused):
                await call
            back = await gateway.answer(Request("POST", PULL, headers, 0, "", gone=lambda: False), b"")
            assert float(back.headers.get("hedgerow-held", "0")) < 10.0, (
                "the least that a call is held for nothing"
            )
        finally:
            await gateway.close()

    asyncio.run(main())


def test_that_a_caller_has_gone_is_known_while_its_call_is_held(folder) -> None:
    """As where a device is killed: the message that then comes must not be handed to nobody."""
    held: asyncio.Queue[Request] = asyncio.Queue()

    class Holding:
        def admit(self, request: Request) -> int:
            return 100

        async def answer(self, request: Request, body: bytes) -> Reply:
            await held.put(request)
            while not request.gone():
                await asyncio.sleep(0.005)
            return Reply(200)

    async def main() -> None:
        context = gateway_certificate(folder).context()
        async with HttpServer(Holding(), "127.0.0.1", 0, context) as server:
            raw = await asyncio.to_thread(Raw, folder, server.port)
            raw.send("POST", "/x", {}, b"body")
            request = await held.get()
            await settle()
            assert not request.gone()
            raw.socket.close()
            async with asyncio.timeout(30):
                while not request.gone():
                    await asyncio.sleep(0.005)

    asyncio.run(main())
