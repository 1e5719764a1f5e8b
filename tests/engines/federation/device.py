"""A device in a thread: what Flower's own SuperNode says to a SuperLink, around a client app."""

import json
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import Context, Error, Message, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.clientapp import ClientApp
from flwr.common.serde import message_to_proto
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PullMessagesResponse,
    PushMessagesRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.supercore.inflatable.inflatable_protobuf_utils import (
    make_confirm_message_received_fn_protobuf,
    make_pull_object_fn_protobuf,
    make_push_object_fn_protobuf,
)
from flwr.supercore.inflatable.inflatable_utils import pull_and_inflate_object_from_tree, push_objects
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

_BEAT_SECONDS = 30.0


def pem(key: ec.EllipticCurvePrivateKey) -> str:
    form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(*form).decode()


def trusting(kit: Mapping[str, Any]) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=kit["ca"])


def call(
    kit: Mapping[str, Any],
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    context: ssl.SSLContext | None = None,
) -> tuple[int, Any]:
    """`(status, JSON)` of one call to a gateway."""
    request = urllib.request.Request(kit["address"] + path, body, dict(headers or {}), method=method)
    try:
        with urllib.request.urlopen(request, context=context or trusting(kit), timeout=30) as reply:
            return reply.status, json.loads(reply.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def join(kit: Mapping[str, Any], key: ec.EllipticCurvePrivateKey, **other: Any) -> tuple[int, Any]:
    """Ask to join, with what is in the kit or is given in its place."""
    asked = {
        "hedgerow": "0.1.0", "token": kit["token"], "name": kit["name"],
        "node_key": pem(key), "identity": None,
    }  # fmt: skip
    return call(kit, "POST", "/join", json.dumps({**asked, **other}).encode())


class Device:
    """Joins with a kit, and answers until it is told to end; what it says is in `problems`."""

    def __init__(self, kit: Path, app: ClientApp, home: Path) -> None:
        self.kit: dict[str, Any] = json.loads(kit.read_text())
        self.key = ec.generate_private_key(ec.SECP384R1())
        self._app, self._home = app, home
        self._ended = threading.Event()
        self.answered: list[tuple[str, str]] = []
        self.problems: list[str] = []
        self._contexts: dict[int, Context] = {}
        self._thread = threading.Thread(target=self._run, daemon=True)

    def join(self, **other: Any) -> dict[str, Any]:
        status, said = join(self.kit, self.key, **other)
        assert status == 200, said
        self.node_id = int(said["node_id"])
        return said

    def start(self) -> "Device":
        self._thread.start()
        return self

    def end(self) -> None:
        self._ended.set()
        self._thread.join(timeout=60)

    def _run(self) -> None:
        while not self._ended.is_set():
            address, ca = self.kit["address"].removeprefix("https://"), self.kit["ca"].encode()
            signing = NodeAuthHttpInterceptor(self.key, self.key.public_key())
            with FleetHttpClient.from_server_address(address, False, ca, interceptors=[signing]) as fleet:
                try:
                    self._serve(fleet)
                except Exception as error:  # the gateway or the SuperLink is away for a moment
                    self.problems.append(repr(error)[:300])
                    self._ended.wait(0.3)

    def _serve(self, fleet: FleetHttpClient) -> None:
        key = pem(self.key).encode()
        with suppress(httpx.HTTPStatusError):  # its session of before counts as online for a minute
            fleet.DeactivateNode(DeactivateNodeRequest(node_id=self.node_id))
        found = fleet.ActivateNode(ActivateNodeRequest(public_key=key, heartbeat_interval=_BEAT_SECONDS))
        node, beaten = Node(node_id=found.node_id), time.monotonic()
        while not self._ended.is_set():
            if time.monotonic() - beaten > _BEAT_SECONDS / 3:
                fleet.SendNodeHeartbeat(SendNodeHeartbeatRequest(node=node, heartbeat_interval=_BEAT_SECONDS))
                beaten = time.monotonic()
            pulled = fleet.PullMessages(PullMessagesRequest(node=node))
            if not pulled.messages_list:
                self._ended.wait(0.05)
                continue
            message = self._pull(fleet, node, pulled)
            reply = self._answer(node.node_id, message)
            self._push(fleet, node, reply)
            self.answered.append((message.metadata.message_type, message.metadata.group_id))
        fleet.DeactivateNode(DeactivateNodeRequest(node_id=node.node_id))

    def _pull(self, fleet: FleetHttpClient, node: Node, pulled: PullMessagesResponse) -> Message:
        run, tree = pulled.messages_list[0].metadata.run_id, pulled.message_object_trees[0]
        pull = make_pull_object_fn_protobuf(fleet.PullObject, node, run)
        confirm = make_confirm_message_received_fn_protobuf(fleet.ConfirmMessageReceived, node, run)
        message = pull_and_inflate_object_from_tree(tree, pull, confirm, return_type=Message)
        message.metadata.__dict__["_message_id"] = tree.object_id
        return message

    def _push(self, fleet: FleetHttpClient, node: Node, reply: Message) -> None:
        reply.metadata.__dict__["_message_id"] = reply.object_id
        objects, tree = get_all_nested_objects(reply), get_object_tree(reply)
        sent = message_to_proto(remove_content_from_message(reply) if reply.has_content() else reply)
        pushed = fleet.PushMessages(
            PushMessagesRequest(
                node=node, messages_list=[sent], message_object_trees=[tree], clientapp_runtime_list=[0.0]
            )
        )
        push = make_push_object_fn_protobuf(fleet.PushObject, node, reply.metadata.run_id, pushed.session_id)
        wanted = set(pushed.objects_to_push)
        push_objects({each: found for each, found in objects.items() if each in wanted}, push)

    def _answer(self, node: int, message: Message) -> Message:
        name = self.kit["name"]
        config = {"client-name": name, "enrolment": str(self._home)}
        run = message.metadata.run_id
        context = self._contexts.setdefault(run, Context(run, node, config, RecordDict(), {}, 0))
        try:
            return self._app(message, context)
        except Exception as error:
            return Message(Error(0, f"{type(error).__name__}: {error}"), reply_to=message)
