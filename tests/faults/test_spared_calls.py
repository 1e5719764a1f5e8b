"""Calls of which a SuperLink hears nothing: signs of life that it believes, objects that are nowhere."""

import asyncio

import httpx
import pytest

from hedgerow.coordinator.folder import FederationFolder
from hedgerow.coordinator.gateway import Gateway
from hedgerow.coordinator.http_types import Refused, Reply, Request
from hedgerow.coordinator.members import load_members
from hedgerow.coordinator.superlink import CONFIRM, FLEET, HEARTBEAT, PULL_OBJECT, PUSH_OBJECT, link_address
from hedgerow.wire import envelope
from hedgerow.wire.fleet import FLEET as MESSAGES
from tests.attacks.gateways import joined, signed

TAKEN = bytes(MESSAGES["SendNodeHeartbeatResponse"](success=True).SerializeToString())


class Coordinator:
    """A gateway with one device, before a SuperLink whose calls are counted."""

    def __init__(self, folder: FederationFolder, key, *, taken: bytes = TAKEN) -> None:
        self.gateway, self.key, self.calls = Gateway(folder), key, list[str]()

        def answer(request: httpx.Request) -> httpx.Response:
            self.calls.append(request.url.path)
            return httpx.Response(200, content=taken if request.url.path == HEARTBEAT else b"")

        transport = httpx.MockTransport(answer)
        self.gateway._link = httpx.AsyncClient(base_url=link_address(folder), transport=transport)
        self.clock = 0.0
        self.gateway._beats._clock = lambda: self.clock

    async def call(self, path: str, body: bytes = b"", agent: str = "hedgerow") -> Reply:
        headers = {**signed(self.key), "user-agent": agent}
        return await self.gateway.answer(Request("POST", path, headers, 0, "", gone=lambda: False), body)


def beat(node: int, interval: float = 30.0) -> bytes:
    request = MESSAGES["SendNodeHeartbeatRequest"](
        node=MESSAGES["Node"](node_id=node), heartbeat_interval=interval
    )
    return bytes(request.SerializeToString())


@pytest.fixture
def made(tmp_path):
    folder = FederationFolder.make(tmp_path / "federation")
    return folder, joined(folder, "kitchen", tmp_path)


def heard(made, given, *, taken: bytes = TAKEN) -> list[float]:
    """When the SuperLink hears of a device: of `(time, body, agent)`."""

    async def run() -> list[float]:
        coordinator, found = Coordinator(*made, taken=taken), []
        for coordinator.clock, body, agent in given:
            before = len(coordinator.calls)
            assert (await coordinator.call(HEARTBEAT, body, agent)).body == taken
            found += [coordinator.clock] * (len(coordinator.calls) - before)
        await coordinator.gateway.close()
        return found

    return asyncio.run(run())


def test_a_superlink_hears_of_a_device_well_before_it_counts_it_as_gone(made) -> None:
    every = [(float(at), beat(1), "hedgerow") for at in range(0, 100, 10)]
    assert heard(made, every) == [0, 40, 80]
    assert heard(made, [(at, beat(1, 12.0), "hedgerow") for at, _, _ in every]) == list(range(0, 100, 20))


def test_each_sign_of_life_is_passed_on_that_the_superlink_may_not_believe_already(made) -> None:
    assert heard(made, [(float(at), beat(1), "hedgerow") for at in (0, 1, 2)], taken=b"") == [0, 1, 2]
    assert heard(made, [(0.0, beat(1), "hedgerow"), (1.0, beat(2), "hedgerow")]) == [0, 1], "another's"
    assert heard(made, [(float(at), beat(1), "python-httpx") for at in (0, 1)]) == [0, 1], "Flower's own node"


def test_a_device_that_has_gone_and_comes_again_is_heard_of_at_once(made) -> None:
    async def run() -> None:
        coordinator = Coordinator(*made)
        for path in ("deactivate-node", "activate-node"):
            await coordinator.call(HEARTBEAT, beat(1))
            await coordinator.call(FLEET + path)
        await coordinator.call(HEARTBEAT, beat(1))
        assert coordinator.calls.count(HEARTBEAT) == 3
        await coordinator.gateway.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("path", "kind", "field"),
    [
        (PULL_OBJECT, "PullObjectRequest", "object_id"),
        (PUSH_OBJECT, "PushObjectRequest", "object_id"),
        (CONFIRM, "ConfirmMessageReceivedRequest", "message_object_id"),
    ],
)  # fmt: skip
def test_a_device_cannot_have_the_messages_of_a_round_removed(made, path, kind, field) -> None:
    """A SuperLink removes what it waits for objects of, after minutes, when one of these is asked for."""

    async def run() -> None:
        coordinator = Coordinator(*made)
        node = MESSAGES["Node"](node_id=load_members(made[0]).devices["kitchen"].node_id)
        for name in (envelope.secret_name(), envelope.name_of(b"a message")):
            request = MESSAGES[kind](node=node, run_id=1, **{field: name})
            with pytest.raises(Refused, match="has no objects"):
                await coordinator.call(path, request.SerializeToString())
        assert not coordinator.calls
        await coordinator.call(
            path, MESSAGES[kind](node=node, run_id=1, **{field: "ab" * 32}).SerializeToString()
        )
        assert coordinator.calls == [path]
        await coordinator.gateway.close()

    asyncio.run(run())
