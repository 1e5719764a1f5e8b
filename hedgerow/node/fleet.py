"""Flower's Fleet API, as a node calls it."""

import hashlib
import time
from collections.abc import Iterator
from typing import Any, final

from google.protobuf.message import DecodeError

from hedgerow.node.connection import Connection, Denied, Unreachable
from hedgerow.types import PayloadError
from hedgerow.wire.fleet import FLEET
from hedgerow.wire.objects import Objects

INTERVAL = 30.0
"""Seconds of silence after which a node counts as gone."""

_MOST_OBJECTS = 100_000
_WAIT_FIRST, _WAIT_LONGEST, _WAIT_SECONDS = 0.02, 0.3, 120.0


class Lost(Exception):
    """A message of which the server no longer has all objects."""


@final
class Fleet:
    """Calls of one node.

    All of them raise `Unreachable` or `Denied`.

    Attributes:
        node: id of the node; 0 before it is active.
    """

    def __init__(self, connection: Connection, node: int = 0) -> None:
        self._connection, self.node = connection, node

    @property
    def pace(self) -> float | None:
        """Seconds until the next poll; `None` if the server has not said."""
        return self._connection.pace

    @property
    def model(self) -> str:
        """Hash of the coordinator's promoted model; empty if there is none, or no coordinator."""
        return self._connection.model

    def get(self, path: str) -> bytes:
        """Fetch a path from the coordinator."""
        return self._connection.call(path, b"", method="GET")

    def register(self, public: bytes) -> None:
        """Register the node's key with a SuperLink that accepts any; fine if it is already known."""
        try:
            self._call("register-node", FLEET["RegisterNodeFleetRequest"](public_key=public))
        except Denied as error:
            if error.status not in (400, 409, 412):
                raise

    def activate(self, public: bytes) -> None:
        """Report that the node is online."""
        request = FLEET["ActivateNodeRequest"](public_key=public, heartbeat_interval=INTERVAL)
        self.node = int(self._call("activate-node", request, "ActivateNodeResponse").node_id)

    def deactivate(self) -> None:
        """Report that the node is going offline, so that it may come back at once."""
        self._call("deactivate-node", FLEET["DeactivateNodeRequest"](node_id=self.node))

    def unregister(self) -> None:
        """Unregister the node's key."""
        self._call("unregister-node", FLEET["UnregisterNodeFleetRequest"](node_id=self.node))

    def heartbeat(self) -> bool:
        """Report that the node is still online; returns whether the server agrees."""
        request = FLEET["SendNodeHeartbeatRequest"](node=self._node, heartbeat_interval=INTERVAL)
        return bool(self._call("send-node-heartbeat", request, "SendNodeHeartbeatResponse").success)

    def pull(self) -> tuple[Any, Any] | None:
        """The next message, and the tree of its objects; `None` if there is none.

        The server hands out each message once, so it must be saved before anything is done with it.
        A coordinator's gateway waits some seconds for one to arrive; a SuperLink answers at once.
        """
        request = FLEET["PullMessagesRequest"](node=self._node)
        reply = self._call("pull-messages", request, "PullMessagesResponse", prefer="wait=30")
        if not reply.messages_list or not reply.message_object_trees:
            return None
        return reply.messages_list[0], reply.message_object_trees[0]

    def fetch(self, run: int, tree: Any) -> Objects:
        """All objects of a tree.

        Raises:
            Lost: the server no longer has one of them.
            PayloadError: an object does not match its id.
        """
        found: Objects = {}
        for each in _ids(tree):
            if each not in found:
                found[each] = self._object(run, each)
        return found

    def push(self, message: Any, tree: Any, objects: Objects, seconds: float) -> None:
        """Send the parts of a reply that the server does not have yet; safe to repeat.

        Args:
            message: its envelope, with the id that the tree has.
            objects: of the tree.
            seconds: that computing the answer took.
        """
        request = FLEET["PushMessagesRequest"](
            node=self._node, messages_list=[message], message_object_trees=[tree]
        )
        reply = self._call("push-messages", request, "PushMessagesResponse")
        wanted, run = set(reply.objects_to_push), message.metadata.run_id
        for each, data in objects.items():
            if each in wanted:
                request = FLEET["PushObjectRequest"](
                    node=self._node,
                    run_id=run,
                    object_id=each,
                    object_content=data,
                    session_id=reply.session_id,
                )
                self._call("push-object", request, "PushObjectResponse")

    def confirm(self, run: int, message: str) -> None:
        """Confirm that a message has arrived, so that the server can delete its objects."""
        request = FLEET["ConfirmMessageReceivedRequest"](
            node=self._node, run_id=run, message_object_id=message
        )
        self._call("confirm-message-received", request)

    @property
    def _node(self) -> Any:
        return FLEET["Node"](node_id=self.node)

    def _object(self, run: int, each: str) -> bytes:
        request = FLEET["PullObjectRequest"](node=self._node, run_id=run, object_id=each)
        pause, until = _WAIT_FIRST, time.monotonic() + _WAIT_SECONDS
        while time.monotonic() < until:
            reply = self._call("pull-object", request, "PullObjectResponse")
            if not reply.object_found:
                break
            if reply.object_available:
                data = bytes(reply.object_content)
                if hashlib.sha256(data).hexdigest() != each:
                    raise PayloadError("an object of the message does not match its id")
                return data
            time.sleep(pause)
            pause = min(2 * pause, _WAIT_LONGEST)
        raise Lost(f"the server no longer has object {each[:16]}... of the message")

    def _call(self, name: str, request: Any, reply: str | None = None, **headers: str) -> Any:
        data = self._connection.call(f"/v1/fleet/{name}", request.SerializeToString(), **headers)
        try:
            return None if reply is None else FLEET[reply].FromString(data)
        except DecodeError as error:
            raise Unreachable(f"the server's answer to {name} cannot be read: {error}") from error


def _ids(tree: Any) -> Iterator[str]:
    """The ids of a tree; raises `PayloadError` if there are too many, or one is invalid."""
    open_, count = [tree], 0
    while open_:
        count += 1
        node = open_.pop()
        if count > _MOST_OBJECTS or len(node.object_id) != 64:
            raise PayloadError("the message has too many objects, or invalid ids")
        yield node.object_id
        open_ += node.children
