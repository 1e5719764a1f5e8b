"""A coordinator's real gateway with TLS, before a stand-in for the SuperLink that a test can look into."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx

from hedgerow.client.policy import Policy
from hedgerow.client.policy_file import NAME, policy_text
from hedgerow.coordinator.bell import ring
from hedgerow.coordinator.certificates import Certificate, authority, gateway_certificate
from hedgerow.coordinator.entrance import Entrance
from hedgerow.coordinator.folder import FederationFolder
from hedgerow.coordinator.http import HttpServer
from hedgerow.coordinator.members import invite, join
from hedgerow.coordinator.ports import free_port
from hedgerow.coordinator.superlink import link_address
from hedgerow.node.availability import Availability
from hedgerow.node.connection import Backoff
from hedgerow.node.device import Device, Enrolled
from hedgerow.node.keys import node_key
from hedgerow.node.kit import load_kit
from hedgerow.node.node import Node, Stopped
from hedgerow.wire import objects
from hedgerow.wire.content import Content
from hedgerow.wire.fleet import FLEET
from tests.described_runs import OPEN

NODE = 7


@dataclass
class SuperLink:
    """Hands out messages, and takes answers; a SuperLink's part of a round, for one node."""

    calls: list[str] = field(default_factory=list)
    """Names of the calls that were answered, oldest first."""
    stored: list[str] = field(default_factory=list)
    """Ids of the objects that were stored, oldest first."""
    answers: list[Any] = field(default_factory=list)
    """Replies, each as `FLEET["Message"]`, whose objects are all here."""
    takes: int | None = None
    """How many more objects it takes before it fails; `None` for all."""
    _objects: dict[str, bytes] = field(default_factory=dict)
    _waiting: list[bytes] = field(default_factory=list)
    _pushed: dict[str, tuple[Any, set[str]]] = field(default_factory=dict)

    def ask(self, kind: str, content: Content, round: str = "1") -> None:
        """Send the node a message."""
        about = FLEET["Metadata"](
            run_id=1, src_node_id=1, dst_node_id=NODE, group_id=round, message_type=kind, ttl=3600.0,
            created_at=time.time(),
        )  # fmt: skip
        root, found = objects.pack(content)
        message = FLEET["Message"](metadata=about)
        message.content.SetInParent()
        top = objects.add(found, "Message", [root], message.SerializeToString(deterministic=True))
        message.metadata.message_id = top
        self._objects |= found
        reply = FLEET["PullMessagesResponse"](
            messages_list=[message], message_object_trees=[_tree(top, found)]
        )
        self._waiting.append(reply.SerializeToString())

    @property
    def contents(self) -> list[bytes]:
        """What the node has stored, oldest first."""
        return [self._objects[each] for each in self.stored]

    def __call__(self, request: httpx.Request) -> httpx.Response:
        name = request.url.path.rpartition("/")[2]
        answer = getattr(self, f"_{name.replace('-', '_')}", lambda body: b"")(request.content)
        if answer is None:
            return httpx.Response(503, content=b"full")
        self.calls.append(name)
        return httpx.Response(200, content=answer, headers={"content-type": "application/protobuf"})

    def _activate_node(self, body: bytes) -> bytes:
        return bytes(FLEET["ActivateNodeResponse"](node_id=NODE).SerializeToString())

    def _send_node_heartbeat(self, body: bytes) -> bytes:
        return bytes(FLEET["SendNodeHeartbeatResponse"](success=True).SerializeToString())

    def _pull_messages(self, body: bytes) -> bytes:
        return self._waiting.pop(0) if self._waiting else b""

    def _pull_object(self, body: bytes) -> bytes:
        data = self._objects.get(FLEET["PullObjectRequest"].FromString(body).object_id)
        found = FLEET["PullObjectResponse"](
            object_found=data is not None, object_available=data is not None, object_content=data or b""
        )
        return bytes(found.SerializeToString())

    def _push_messages(self, body: bytes) -> bytes:
        request = FLEET["PushMessagesRequest"].FromString(body)
        (message,), (tree,) = request.messages_list, request.message_object_trees
        wanted = {each for each in _ids(tree) if each not in self._objects}
        self._pushed[message.metadata.message_id] = message, wanted
        self._look()
        return bytes(FLEET["PushMessagesResponse"](objects_to_push=sorted(wanted)).SerializeToString())

    def _push_object(self, body: bytes) -> bytes | None:
        if self.takes == 0:
            return None
        self.takes = None if self.takes is None else self.takes - 1
        request = FLEET["PushObjectRequest"].FromString(body)
        self._objects[request.object_id] = request.object_content
        self.stored.append(request.object_id)
        self._look()
        return bytes(FLEET["PushObjectResponse"](stored=True).SerializeToString())

    def _look(self) -> None:
        for name, (message, wanted) in list(self._pushed.items()):
            if wanted <= set(self._objects):
                self.answers.append(message)
                del self._pushed[name]


def _ids(tree: Any) -> Iterator[str]:
    yield tree.object_id
    for child in tree.children:
        yield from _ids(child)


def _tree(root: str, found: objects.Objects) -> Any:
    below = [_tree(child, found) for child in objects.children(found[root])]
    return FLEET["ObjectTree"](object_id=root, children=below)


@dataclass
class Coordinator:
    """A federation whose gateway a test starts and ends."""

    folder: FederationFolder
    link: SuperLink = field(default_factory=SuperLink)

    @classmethod
    def make(cls, place: Path) -> "Coordinator":
        """Its folder; the port stays the same from one start to the next."""
        folder = FederationFolder.make(place / "federation")
        folder.at(port=free_port())
        gateway_certificate(folder)  # makes its CA
        return cls(folder)

    def device(self, place: Path, policy: Policy = OPEN, name: str = "kitchen") -> Device:
        """A device that has joined, with two samples of its own."""
        kit = load_kit(invite(self.folder, name, place))
        folder = place / name
        folder.mkdir(mode=0o700)
        (place / "own.csv").write_text("a,b,label\n1,2,no\n3,4,yes\n")
        public = node_key(folder / "node.key").public.decode()
        asked = {"hedgerow": "0.1.0", "name": name, "token": kit.token, "node_key": public, "identity": None}
        join(self.folder, asked, lambda key, named: NODE)
        enrolled = Enrolled(replace(kit, token=None), True, NODE, str(place / "own.csv"), 0.0)
        set_policy(made := Device.make(folder, enrolled), policy)
        return made

    def ask(self, kind: str, content: Content, round: str = "1") -> None:
        """Send the device a message, which it fetches at once."""
        self.link.ask(kind, content, round)
        self.ring()

    def ring(self) -> None:
        """End the device's call that waits for a message."""
        ring(self.folder, [NODE])

    @contextmanager
    def serving(self, certificate: Certificate | None = None) -> Iterator[None]:
        """Its gateway, with its own certificate unless another is given."""
        ready, loop, ended = threading.Event(), asyncio.new_event_loop(), asyncio.Event()
        shown = (certificate or gateway_certificate(self.folder)).context()

        async def serve() -> None:
            handler = Entrance(self.folder)
            transport = httpx.MockTransport(self.link)
            handler.gateway._link = httpx.AsyncClient(base_url=link_address(self.folder), transport=transport)
            async with HttpServer(handler, "127.0.0.1", self.folder.settings.port, shown):
                ready.set()
                await ended.wait()
            await handler.close()

        thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
        thread.start()
        try:
            assert ready.wait(30)
            yield
        finally:
            loop.call_soon_threadsafe(ended.set)
            thread.join(timeout=30)
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    @contextmanager
    def living(self, device: Device, available: Availability | None = None) -> Iterator["Living"]:
        """A node that takes part until the block ends; it tries again after a tenth of a second at most."""
        said: list[str] = []
        node = Node(device, said.append, available, Backoff(0.02, 0.1))
        thread = threading.Thread(target=node.run, daemon=True)
        thread.start()
        try:
            yield Living(node, said)
        finally:
            with suppress(Stopped):  # for signal handlers, where the node is at work
                node.stop()
            until = time.monotonic() + 60
            while thread.is_alive():
                assert time.monotonic() < until, said
                self.ring()
                thread.join(0.05)

    def another_certificate(self, place: Path) -> Certificate:
        """The certificate of a federation with a CA of its own."""
        other = FederationFolder.make(place / "other")
        authority(other)
        return gateway_certificate(other)


def set_policy(device: Device, policy: Policy) -> None:
    (device.folder / NAME).write_text(policy_text(policy))
    (device.folder / NAME).chmod(0o600)


@dataclass
class Living:
    """A node in a thread, and what it has told a person."""

    node: Node
    said: list[str]

    def until(self, ready: Any, seconds: float = 30.0) -> None:
        """Wait for a condition, or for a text in what was said."""
        is_there = (lambda: any(ready in line for line in self.said)) if isinstance(ready, str) else ready
        until = time.monotonic() + seconds
        while not is_there():
            assert time.monotonic() < until, self.said
            time.sleep(0.01)

    def forget(self) -> None:
        """What was said so far."""
        self.said.clear()
