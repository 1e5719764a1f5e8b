"""The only entrance to a federation: the requests that a device may make, and nothing else.

TLS, a list of paths, a check of the sender's signature before the body is read, and
a rate limit for each device. Allowed requests go to the SuperLink unchanged.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, final

import httpx

from hedgerow.coordinator import presence, register
from hedgerow.coordinator.bell import Bell
from hedgerow.coordinator.delivery import Delivery
from hedgerow.coordinator.events import note
from hedgerow.coordinator.folder import FederationError, FederationFolder
from hedgerow.coordinator.graphs import GraphStore
from hedgerow.coordinator.handed import OWN_AGENT, HandedOut
from hedgerow.coordinator.heartbeats import Heartbeats
from hedgerow.coordinator.http_types import Refused, Reply, Request, json_object
from hedgerow.coordinator.join_request import JoinRefused
from hedgerow.coordinator.mail import Mail
from hedgerow.coordinator.members import KnownKeys, changed_members, join, leave, rotate
from hedgerow.coordinator.next_message import NextMessage
from hedgerow.coordinator.pace import Pace, Rates
from hedgerow.coordinator.senders import SIGNED, Senders
from hedgerow.coordinator.store import ObjectStore
from hedgerow.coordinator.superlink import (
    FLEET,
    HEARTBEAT,
    MEDIA,
    PULL,
    PULL_OBJECT,
    PUSH,
    RELAYED,
    Control,
    asks_for_object,
    beat_seconds,
    brings_object,
    link_address,
    link_context,
    message_id,
    named_object,
)
from hedgerow.coordinator.turns import Turns
from hedgerow.node.link import PROBE, TOKEN
from hedgerow.wire.envelope import in_envelope

log = logging.getLogger("hedgerow")

Changed = TypeVar("Changed")

_KB, _MB = 2**10, 2**20
_MOST = {
    FLEET + "push-object": 6 * _MB,
    FLEET + "push-messages": 4 * _MB,
    "/join": 16 * _KB,
    "/rotate": 16 * _KB,
    PROBE: _MB,
}
_MOST_OTHERS = 64 * _KB
_PASSED_ON = frozenset({*SIGNED, "content-type", "accept"})
_SWEEP_SECONDS = 2.0
_AT_ONCE = 1  # call of the SuperLink: it writes one at a time, and SQLite sleeps longer and longer in between
_KEPT_OBJECTS = 32 * _MB
_PREFERS_TO_WAIT = "wait="  # as in RFC 7240


@final
class Gateway:
    """A `Handler` for one federation; `run` does periodic work."""

    def __init__(self, folder: FederationFolder) -> None:
        self._folder, self._keys = folder, KnownKeys(folder)
        # From the previous gateway: devices have not left because the gateway was restarted.
        self._handed, self._beats, self._senders = HandedOut(), Heartbeats(), Senders(self._keys)
        self._pace, self._heard = Pace(), dict[str, float](presence.heard(folder))
        self._lost_after = folder.settings.lost_after
        self._there = len(presence.still_there(self._heard, self._lost_after))
        self._rates = Rates(per_second=100.0, burst=400)
        self._probes = Rates(per_second=0.2, burst=8)
        self._strangers = Rates(per_second=10.0, burst=200)  # many devices may share one address
        self._link = httpx.AsyncClient(
            base_url=link_address(folder), verify=link_context(folder), timeout=60.0, trust_env=False,
            limits=httpx.Limits(max_connections=_AT_ONCE, max_keepalive_connections=_AT_ONCE),
        )  # fmt: skip
        self._joining, self._delivery, self._graphs = asyncio.Lock(), Delivery(folder), GraphStore(folder)
        self._bell, self._turns = Bell(folder), Turns()
        self._next = NextMessage(Mail(folder), self._bell)
        self._objects = ObjectStore(_KEPT_OBJECTS, brings_object)

    @staticmethod
    def has(path: str) -> bool:
        """Whether this is a path for devices."""
        known = path in RELAYED or path in (PROBE, "/join", "/leave", "/register", "/rotate")
        return known or Delivery.has(path) or GraphStore.has(path)

    def admit(self, request: Request) -> int:
        """The most bytes that the body may have; raises `Refused`."""
        path = request.path
        if path.startswith(FLEET) and path not in RELAYED:
            raise Refused(403, f"{path} is not open to devices")
        fetched = Delivery.has(path) or GraphStore.has(path)
        if path == PROBE and request.method in ("GET", "POST"):
            self._within_rate(self._probes, self._prober(request))
            return _MOST[path]
        if not self.has(path) or path == PROBE:
            raise Refused(404, f"there is no {path}")
        if request.method != ("GET" if path == "/register" or fetched else "POST"):
            raise Refused(405, f"{path} does not take {request.method}")
        if path in RELAYED or path in ("/leave", "/rotate") or fetched:
            self._within_rate(self._rates, self._senders.sender(request.headers))
        else:
            self._within_rate(self._strangers, request.peer)
        return _MOST.get(path, _MOST_OTHERS)

    async def answer(self, request: Request, body: bytes) -> Reply:
        """The answer to a request; raises `Refused`."""
        if request.path in RELAYED:
            return await self._relay(request, body)
        if request.path == PROBE:
            return Reply(200, bytes(_MB) if request.method == "GET" else b"")
        if Delivery.has(request.path):
            return await asyncio.to_thread(self._delivery.answer, request)
        if GraphStore.has(request.path):
            name = self._senders.again(request.headers)
            return await asyncio.to_thread(self._graphs.answer, request.path, name)
        try:
            if request.path == "/join":
                return await self._join(body)
            if request.path == "/rotate":
                return await self._rotate(self._senders.sender(request.headers), body)
            if request.path == "/leave":
                leave(self._folder, name := self._senders.sender(request.headers))
                note(self._folder, f"{name!r} has left")
                return Reply.of_json(200, {})
            return Reply.of_json(200, register.served(self._folder).told())
        except (FederationError, OSError) as error:
            log.error("%s: %s", request.path, error)
            raise Refused(500, "the coordinator cannot answer now; its log says why") from error

    async def run(self) -> None:
        """Record which devices are online, and have the SuperLink forget those that left; never returns."""
        while True:
            try:
                self._there = len(presence.still_there(self._heard, self._lost_after))
                self._folder.write(presence.FILE, self._heard, durable=False)
                if self._keys.refresh().gone:
                    await asyncio.to_thread(self._forget)
            except (OSError, FederationError, httpx.HTTPError) as error:
                log.warning("%s; trying again", error)
            await asyncio.sleep(_SWEEP_SECONDS)

    async def close(self) -> None:
        """Close the connections to the SuperLink."""
        self._bell.close()
        await self._link.aclose()

    def _prober(self, request: Request) -> str:
        """Who measures its link: a device that has joined, or one with a kit; raises `Refused`."""
        if (token := request.headers.get(TOKEN)) is None:
            return self._senders.sender(request.headers)
        try:
            return self._keys.invited(token)
        except (KeyError, ValueError) as error:
            raise Refused(401, "the token was used, replaced or revoked") from error

    def _within_rate(self, rates: Rates, caller: str) -> None:
        if wait := rates.wait(caller):
            raise Refused(429, "too many calls", **{"retry-after": str(max(1, round(wait)))})

    async def _relay(self, request: Request, body: bytes) -> Reply:
        # Checked again, as it may have been revoked while sending; its signature was checked before.
        name = self._senders.again(request.headers)
        self._heard[name] = time.time()
        headers = {key: value for key, value in request.headers.items() if key in _PASSED_ON}
        pace = self._pace.seconds(max(1, self._there))
        own = self._is_own(name, request)
        if request.path == PUSH:
            self._handed.answered(name)  # so it has received its last message, whatever becomes of the answer
        if own and request.path == PULL and (lost := self._handed.lost(name)) is not None:
            log.warning("%r has lost a message; sending it again", name)
            return self._paced(200, lost, MEDIA, pace)
        if own and request.path == HEARTBEAT and (noted := self._beats.answer(name, body)) is not None:
            return self._paced(200, noted, MEDIA, pace)
        if in_envelope(named_object(request.path, body)):
            raise Refused(404, "a message in its envelope has no objects")

        async def asked() -> httpx.Response:
            call = self._link.post(request.path, content=body, headers=headers)
            return await self._turns.call(call)

        node, held = self._keys.members.devices[name].node_id, 0.0
        try:
            if request.path == PULL and _PREFERS_TO_WAIT in request.headers.get("prefer", ""):
                seconds, pace = self._pace.held(max(1, self._there))
                found, held = await self._message(asked, node, seconds, request, own=own)
            elif request.path == PULL_OBJECT and (wanted := asks_for_object(body, node)) is not None:
                # Whoever knows an object's hash may fetch it: the SuperLink requires no more.
                found = await self._objects.get(wanted, asked)
            else:
                found = await asked()
        except httpx.HTTPError as error:
            raise Refused(502, "the SuperLink does not answer; try again", **{"retry-after": "1"}) from error
        self._heard[name] = time.time()  # it was waiting for the SuperLink, not silent
        if request.path == PULL and found.status_code == 200 and message_id(found.content):
            self._pace.message()
            if own:
                self._handed.give(name, found.content)
        if request.path == HEARTBEAT and found.status_code == 200:
            self._beats.told(name, body, beat_seconds(body, found.content), found.content)
        if request.path in (FLEET + "activate-node", FLEET + "deactivate-node"):
            self._beats.forget(name)
        if request.path == FLEET + "deactivate-node" and found.status_code == 200:
            self._heard.pop(name, None)
        kind = found.headers.get("content-type", MEDIA)
        return self._paced(found.status_code, found.content, kind, pace, held)

    def _paced(self, status: int, content: bytes, kind: str, pace: float, held: float = 0.0) -> Reply:
        """A reply that says when to poll next, and for how many seconds the call was held."""
        headers = {"content-type": kind, "hedgerow-pace": f"{pace:.3g}", **self._delivery.header()}
        if held:
            headers["hedgerow-held"] = f"{held:.3f}"
        return Reply(status, content, headers)

    def _is_own(self, name: str, request: Request) -> bool:
        """Whether a device is one of Hedgerow's own; browsers keep pages from saying so."""
        return request.headers.get("user-agent") == OWN_AGENT or self._keys.members.devices[name].phone

    async def _message(
        self, asked: Callable[[], Awaitable[httpx.Response]], node: int, seconds: float, request: Request,
        *, own: bool,
    ) -> tuple[httpx.Response, float]:  # fmt: skip
        """The answer to a pull, once the device is asked something, or some seconds later; and these."""
        began = time.monotonic()
        waiting = await self._bell.wait(node, seconds)
        if waiting:
            await self._turns.turn()
        if gone := request.gone():
            self._bell.missed(node)
        if not waiting or gone:
            # Another call of the device is waiting now, or none is; a message is handed out only once.
            raise Refused(409, "another call of this device waits for a message")
        self._senders.sender(request.headers)  # it may have been revoked while waiting
        held = time.monotonic() - began
        if own:
            return await self._next.of(node, asked), held
        return await asked(), held

    async def _join(self, body: bytes) -> Reply:
        asked = json_object(body)
        try:
            name, device = await self._changed(join, self._folder, asked, self._register_node)
        except Refused as refused:
            log.warning("%r may not join: %s", str(asked.get("name"))[:200], refused)
            raise
        note(self._folder, f"{name!r} has joined")
        shown, federation = register.served(self._folder), self._folder.settings.federation
        found = {"node_id": device.node_id, "register": shown.text, "trust": shown.trust}
        return Reply.of_json(200, {**found, "name": name, "federation": federation})

    async def _rotate(self, name: str, body: bytes) -> Reply:
        device = await self._changed(rotate, self._folder, name, json_object(body), self._register_node)
        note(self._folder, f"{name!r} has a new key")
        return Reply.of_json(200, {"node_id": device.node_id})

    async def _changed(self, change: Callable[..., Changed], *arguments: Any) -> Changed:
        """The result of a change of the members; raises `Refused`."""
        try:
            async with self._joining:
                changed = await asyncio.to_thread(change, *arguments)
        except JoinRefused as refused:
            raise Refused(refused.status, str(refused)) from refused
        except httpx.HTTPError as error:
            raise Refused(502, "the SuperLink does not answer; try again", **{"retry-after": "1"}) from error
        register.rebuild(self._folder, self._keys.refresh())
        return changed

    def _register_node(self, key: bytes, name: str) -> int:
        control = Control(self._folder)
        try:
            return control.register(key, name)
        finally:
            control.close()

    def _forget(self) -> None:
        control = Control(self._folder)
        try:
            with changed_members(self._folder) as members:
                for node in members.gone:
                    control.unregister(node)
                members.gone = []
        finally:
            control.close()
        register.rebuild(self._folder, self._keys.refresh())
        known = self._keys.members.devices
        self._heard = {name: heard for name, heard in self._heard.items() if name in known}
