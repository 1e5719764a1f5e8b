"""The life of a node: it connects, polls for messages, answers them, and recovers from failures."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any, final

from hedgerow.client.kinds import OPENINGS
from hedgerow.node.availability import Availability
from hedgerow.node.connection import Backoff, Connection, Denied, Unreachable, remedy
from hedgerow.node.device import Device, wait_for_clock
from hedgerow.node.fleet import INTERVAL, Fleet, Lost
from hedgerow.node.identities import take_register
from hedgerow.node.outbox import Outbox, Pending
from hedgerow.node.promoted import PromotedModel
from hedgerow.node.reply import reply_to
from hedgerow.node.responder import Responder, reason_of
from hedgerow.recipe.announcement import RECORD
from hedgerow.secure.errors import Malformed, Refused
from hedgerow.types import PayloadError
from hedgerow.wire import objects
from hedgerow.wire.bundle import READS, opened, small
from hedgerow.wire.content import ConfigRecord, Content
from hedgerow.wire.envelope import REPLY, in_envelope
from hedgerow.wire.fleet import FLEET
from hedgerow.wire.text import read_json

log = logging.getLogger("hedgerow")

_QUICK, _SLOW, _QUICK_FOR = 0.2, 3.0, 30.0
_GOODBYE_SECONDS = 5.0
_REGISTER_SECONDS = 10.0
_ATTEMPTS = 5
"""Attempts to answer a message on which the server itself fails."""


class Stopped(BaseException):
    """The process is asked to end while it is working or waiting."""


@final
class Node:
    """A device that takes part, until it is stopped.

    Args:
        device: its folder, which this process has locked.
        told: called with a line of text for people each time something changes.
        available: when it takes new work.
        backoff: how long it waits between attempts to reach the server.

    `stop` may be called from a signal handler.
    """

    def __init__(
        self,
        device: Device,
        told: Callable[[str], None] = log.info,
        available: Availability | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        self._device, self._told, self._backoff = device, told, backoff or Backoff()
        self._available = available or Availability(device)
        self._outbox = Outbox(device.folder / "outbox")
        self._responder = Responder(device, self._outbox, self._available.machine)
        self._promoted = PromotedModel(device, self._tell)
        self._stop, self._gone = threading.Event(), threading.Event()
        self._interruptible, self._failed = False, 0
        self._held: tuple[Any, Any] | None = None
        self._said, self._register_until = "", 0.0

    def stop(self) -> None:
        """End as soon as the server can be told; unfinished work is repeated next time."""
        self._stop.set()
        if self._interruptible:
            raise Stopped

    def run(self) -> None:
        """Take part until `stop`; waits while the network fails or the disk is full."""
        if not wait_for_clock(self._device.enrolled.since, patience=0.0):
            self._tell(
                f"the clock shows {datetime.now():%d %B %Y}, before the day on which this device joined:"
                " waiting for the network's time"
            )
            wait_for_clock(self._device.enrolled.since, wait=self._stop.wait)
        backoff = self._backoff
        while not self._stop.is_set():
            self._available.wait(self._stop, self._tell)
            if self._stop.is_set():
                return
            connection = self._connection()
            fleet = Fleet(connection, self._device.enrolled.node)
            try:
                self._activate(fleet)
                self._update_register()
                self._tell(f"{self._device.name} is connected to {self._device.enrolled.kit.address}")
                if self._serve(fleet, backoff) or self._stop.is_set():
                    self._goodbye(fleet)
            except Unreachable as error:
                self._wait(backoff.seconds(error.seconds), str(error))
            except Denied as error:
                self._wait(backoff.seconds(), f"{error}{remedy(error.status, connection.ahead)}")
            except OSError as error:  # such as a full disk: what is not saved is not sent
                self._wait(backoff.seconds(), str(error))
            except Stopped:
                self._goodbye(fleet)
            finally:
                connection.close()

    def _connection(self, seconds: float = 60.0) -> Connection:
        kit = self._device.enrolled.kit
        return Connection(kit.address, kit.ca, self._device.key, seconds=seconds)

    def _activate(self, fleet: Fleet) -> None:
        """Report that the node is online.

        A known node is counted again from its next heartbeat. It is not deactivated first, because
        the last message that it was sent would then count as unanswered.
        """
        if fleet.node:
            try:
                if fleet.heartbeat():
                    return
            except Denied as error:
                log.debug("not known as node %d: %s", fleet.node, error)
        public = self._device.key.public
        if not self._device.enrolled.gateway:
            fleet.register(public)
        fleet.activate(public)
        self._device.change(node=fleet.node)

    def _update_register(self) -> None:
        """Fetch the register of identities; one that cannot be trusted changes nothing."""
        enrolled = self._device.enrolled
        if not enrolled.gateway or time.monotonic() < self._register_until:
            return
        connection = self._connection()
        try:
            answer = read_json(connection.call("/register", b"", method="GET"))
            administrator = take_register(self._device.folder, enrolled.kit, answer)
            self._device.change(kit=replace(enrolled.kit, administrator=administrator))
            self._register_until = time.monotonic() + _REGISTER_SECONDS
        except (ValueError, AttributeError, Malformed, Denied) as error:
            log.warning("the register of identities is unchanged: %s", error)
        finally:
            connection.close()

    def _serve(self, fleet: Fleet, backoff: Backoff) -> bool:
        """Answer messages until the node is stopped or outside its limits; whether the server counts it."""
        self._gone = gone = threading.Event()
        beating = threading.Thread(target=self._beat, args=(fleet.node, gone), daemon=True)
        beating.start()
        try:
            for come in self._outbox.pending():
                self._finish(fleet, come)
            last = time.monotonic()
            while not self._stop.is_set() and not gone.is_set():
                if self._held is None and self._available.ended():
                    break
                self._held = self._held or self._pulled(fleet)
                if self._held is None:
                    backoff.reset()
                    if self._promoted.follow(fleet):
                        continue
                    self._stop.wait(_pause(fleet.pace, time.monotonic() - last))
                    continue
                come = self._outbox.receive(*self._held)  # on a full disk, it is tried again
                self._held = None
                self._finish(fleet, come)
                self._promoted.follow(fleet)  # in quick rounds, every pull brings a message
                last = time.monotonic()
                backoff.reset()
            return not gone.is_set()
        finally:
            gone.set()

    def _pulled(self, fleet: Fleet) -> tuple[Any, Any] | None:
        """The next message; the server may wait for one, and the node may be stopped meanwhile.

        A message handed out at that moment is lost, as are messages waiting for a node that leaves.
        """
        self._interruptible = True
        try:
            return fleet.pull()
        finally:
            self._interruptible = False

    def _beat(self, node: int, gone: threading.Event) -> None:
        """Send heartbeats while the node works, on a separate connection."""
        connection = self._connection(seconds=INTERVAL / 3)
        fleet = Fleet(connection, node)
        while not gone.wait(INTERVAL / 3):
            try:
                if not fleet.heartbeat():
                    gone.set()
            except (Unreachable, Denied) as error:
                log.debug("no heartbeat: %s", error)
        connection.close()

    def _finish(self, fleet: Fleet, come: Pending) -> None:
        """Answer a message, and make sure that the server has the answer."""
        message = FLEET["Message"].FromString(come.message)
        run = message.metadata.run_id
        try:
            if not come.made:
                self._interruptible = True
                try:
                    come = self._answered(fleet, message, come)
                finally:
                    self._interruptible = False
            fleet.push(*reply_to(message, come, fleet.node, self._outbox), come.seconds)
            if not in_envelope(come.id):
                fleet.confirm(run, come.id)
        except Unreachable as error:
            self._failed = self._failed + 1 if error.status == 500 else 0
            if self._failed < _ATTEMPTS or not _is_well(fleet):
                raise
            log.warning("giving up on message %s... of run %d: %s", come.id[:12], run, error)
        except (Denied, Lost) as error:
            # The run is over, or the server has restarted without it: nobody is waiting for this answer.
            log.warning("message %s... of run %d is not answered: %s", come.id[:12], run, error)
        self._outbox.done(come)

    def _answered(self, fleet: Fleet, message: Any, come: Pending) -> Pending:
        """Work on a message; its answer is on disk when this returns."""
        about = message.metadata
        if about.message_type in OPENINGS:
            self._update_register()
        started = time.monotonic()
        try:
            content = opened(_content(fleet, message, come), RECORD)
            if isinstance(told := content.get(RECORD), ConfigRecord):
                reply = str(told.get(REPLY, "")) if in_envelope(come.id) else ""
                come = replace(come, bundled=READS in told, reply=reply if in_envelope(reply) else "")
            key = self._responder.answer(about.message_type, about.group_id, content, fleet.get)
        except PayloadError as error:
            return self._outbox.settle(come, error=f"PayloadError: {error}")
        except Refused as error:
            return self._outbox.settle(come, error=reason_of(error))
        seconds = time.monotonic() - started
        self._available.answered(about.message_type)
        self._tell(f"answered {about.message_type} of round {about.group_id or '-'} in {seconds:.2f} s")
        return self._outbox.settle(come, answer=key, seconds=seconds)

    def _goodbye(self, fleet: Fleet) -> None:
        connection = self._connection(seconds=_GOODBYE_SECONDS)
        try:
            Fleet(connection, fleet.node).deactivate()
        except (Unreachable, Denied) as error:
            log.debug("not deactivated: %s", error)
        finally:
            connection.close()

    def _wait(self, seconds: float, why: str) -> None:
        self._tell(f"{why}; trying again")
        self._stop.wait(seconds)

    def _tell(self, text: str) -> None:
        """Print a line for people, unless it repeats the last one."""
        if text != self._said:
            self._said = text
            with suppress(OSError):  # the disk that it is written to may be full
                self._told(text)


def _content(fleet: Fleet, message: Any, come: Pending) -> Content:
    """What a message holds, in its envelope or in objects that are fetched; raises `PayloadError`, `Lost`."""
    if in_envelope(come.id):
        return small(message.content.SerializeToString())
    tree = FLEET["ObjectTree"].FromString(come.tree)
    if len(tree.children) != 1:
        raise PayloadError(f"the message has {len(tree.children)} contents; it must have one")
    (root,) = tree.children  # the message's own object says no more than its envelope
    return objects.unpack(root.object_id, fleet.fetch(message.metadata.run_id, root))


def _is_well(fleet: Fleet) -> bool:
    """Whether the server answers other calls: if its disk is full, all calls that must write fail."""
    try:
        return fleet.heartbeat()
    except Unreachable:
        return False


def _pause(pace: float | None, idle: float) -> float:
    """Seconds until the next poll: what the server says, or longer and longer if no messages come."""
    if pace is not None:
        return pace
    return _QUICK if idle < _QUICK_FOR else min(_SLOW, _QUICK * idle / _QUICK_FOR)
