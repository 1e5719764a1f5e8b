"""Flower's unmodified SuperLink: how it is started, and its Control API, which only this machine can reach.

With `envelopes.py` this is the file of the room with private Flower names;
`tests/api/test_superlink_private.py` is their contract.
"""

import hashlib
import os
import ssl
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, final

import httpx
import tomli_w
from flwr.cli.build import build_fab_from_files
from flwr.common.serde import user_config_to_proto
from flwr.proto import control_pb2
from flwr.proto.fab_pb2 import Fab
from flwr.proto.fleet_pb2 import PullMessagesResponse
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest, SendNodeHeartbeatResponse
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedRequest,
    PullObjectRequest,
    PullObjectResponse,
    PushObjectRequest,
)
from flwr.supercore.inflatable.inflatable_protobuf_utils import make_push_object_fn_protobuf
from flwr.supercore.inflatable.inflatable_utils import ObjectPushError, pull_objects
from flwr.superlink.grid import http_grid
from google.protobuf.message import DecodeError

from hedgerow.coordinator.certificates import LOOPBACK, Certificate, authority, certified
from hedgerow.coordinator.folder import FederationFolder
from hedgerow.coordinator.processes import DATABASE, SUPERLINK

FLEET, CONTROL = "/v1/fleet/", "/v1/control/"
RELAYED = frozenset(
    FLEET + call
    for call in (
        "activate-node", "deactivate-node", "send-node-heartbeat", "pull-messages", "push-messages",
        "get-run", "push-object", "pull-object", "confirm-message-received",
    )
)  # fmt: skip
"""The Fleet API calls that devices may make: neither registration nor code."""

SERVER_APP_PROGRAM = "flwr-serverapp"
"""The program that a SuperLink starts for each run."""

PULL, PUSH = FLEET + "pull-messages", FLEET + "push-messages"
PULL_OBJECT, PUSH_OBJECT = FLEET + "pull-object", FLEET + "push-object"
CONFIRM, HEARTBEAT = FLEET + "confirm-message-received", FLEET + "send-node-heartbeat"
MEDIA = "application/protobuf"


@dataclass(frozen=True)
class Run:
    """A Flower run.

    Attributes:
        status: `"pending"`, `"starting"`, `"running"` or `"finished"`.
        outcome: of a finished run: `"completed"`, `"failed"` or `"stopped"`.
        details: why it failed.
    """

    status: str
    outcome: str
    details: str


def link_certificate(folder: FederationFolder) -> Certificate:
    """The SuperLink's certificate, for this machine."""
    return certified(folder, "link", LOOPBACK)


def command(folder: FederationFolder) -> list[str]:
    """The SuperLink's command line: with a database, node authentication, and on the loopback only."""
    certificate = link_certificate(folder)
    return [
        str(Path(sys.executable).parent / SUPERLINK),
        "--host", LOOPBACK[0], "--port", str(folder.settings.link_port),
        "--database", str(folder.path / DATABASE),
        "--enable-supernode-auth",
        "--ssl-ca-certfile", str(authority(folder).certificate),
        "--ssl-certfile", str(certificate.certificate),
        "--ssl-keyfile", str(certificate.key),
        "--disable-runtime-dependency-installation",
    ]  # fmt: skip


def environment(folder: FederationFolder) -> dict[str, str]:
    """Environment of the SuperLink and its children: it finds Flower's programs, and telemetry is off."""
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "FLWR_HOME": str(folder.path / "flower"),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.5",
        "PYTHONUNBUFFERED": "1",
    }


def link_context(folder: FederationFolder) -> ssl.SSLContext:
    """A TLS context that trusts only the federation's own CA, for the SuperLink."""
    return ssl.create_default_context(cafile=str(authority(folder).certificate))


def link_address(folder: FederationFolder) -> str:
    """The SuperLink's address."""
    return f"https://{LOOPBACK[0]}:{folder.settings.link_port}"


def message_id(reply: bytes) -> str:
    """The id of the message in the reply to a poll; empty if it contains none."""
    found = PullMessagesResponse.FromString(reply).messages_list
    return str(found[0].metadata.message_id) if found else ""


def beat_seconds(body: bytes, reply: bytes) -> float:
    """The interval of a sign of life that the SuperLink has taken; 0 where it has not."""
    taken = SendNodeHeartbeatResponse.FromString(reply).success
    return float(SendNodeHeartbeatRequest.FromString(body).heartbeat_interval) if taken else 0.0


def named_object(path: str, body: bytes) -> str:
    """The id of the object that a call is about; empty where it is about none, or cannot be read."""
    try:
        if path == PULL_OBJECT:
            return str(PullObjectRequest.FromString(body).object_id)
        if path == PUSH_OBJECT:
            return str(PushObjectRequest.FromString(body).object_id)
        if path == CONFIRM:
            return str(ConfirmMessageReceivedRequest.FromString(body).message_object_id)
    except DecodeError:
        pass
    return ""


def asks_for_object(body: bytes, node: int) -> tuple[int, str] | None:
    """`(run, object id)` that a node asks for; `None` if the request is invalid, or another node's."""
    try:
        asked = PullObjectRequest.FromString(body)
    except DecodeError:
        return None
    return (asked.run_id, asked.object_id) if asked.node.node_id == node else None


def brings_object(reply: bytes) -> bool:
    """Whether the reply to a request for an object contains it."""
    found = PullObjectResponse.FromString(reply)
    return bool(found.object_found and found.object_available)


def look_often_for_replies(longest: float | None) -> None:
    """Have the ServerApp of this process retry soon when a reply is incomplete.

    Flower retries after one second, then two, then four. If a device dies while sending its reply, Flower
    waits for the rest for a whole session, three minutes, while all other replies wait too.

    Args:
        longest: seconds to wait for the rest of a reply before it is an error; `None` for Flower's limit.
    """
    given: dict[str, Any] = {} if longest is None else {"max_time": longest}
    http_grid.pull_objects = partial(  # type: ignore[attr-defined]
        pull_objects, initial_backoff=0.02, backoff_cap=0.5, **given
    )


def let_messages_be_answered_early() -> None:
    """Have the ServerApp of this process go on where a message was answered before all of it was sent.

    A device needs the objects below a message's own, and not that one; once it has answered, the SuperLink
    wants the message's own no more. Flower ends the run then.
    """

    def pushing(*given: Any, **named: Any) -> Callable[[str, bytes], None]:
        real = make_push_object_fn_protobuf(*given, **named)

        def push(name: str, data: bytes) -> None:
            try:
                real(name, data)
            except ObjectPushError:
                if not data.startswith(b"Message "):
                    raise

        return push

    http_grid.make_push_object_fn_protobuf = pushing  # type: ignore[attr-defined]


@final
class Control:
    """The SuperLink's Control API; every call raises `httpx.HTTPError` if it fails."""

    def __init__(self, folder: FederationFolder, *, timeout: float = 30.0) -> None:
        self._http = httpx.Client(
            base_url=link_address(folder), verify=link_context(folder), timeout=timeout, trust_env=False
        )

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def ready(self) -> bool:
        """Whether it answers."""
        try:
            self.nodes()
        except httpx.HTTPError:
            return False
        return True

    def nodes(self) -> dict[bytes, int]:
        """`{public key as PEM: node id}` of the nodes that are registered."""
        found = self._call("list-nodes", control_pb2.ListNodesRequest(), control_pb2.ListNodesResponse)
        return {
            bytes(node.public_key): int(node.node_id)
            for node in found.nodes_info
            if node.status != "unregistered"
        }

    def register(self, node_key: bytes, name: str) -> int:
        """Register a node; returns its id, also if it was already registered."""
        known = self.nodes().get(node_key)
        if known is not None:
            return known
        request = control_pb2.RegisterNodeRequest(public_key=node_key, name=name)
        return int(self._call("register-node", request, control_pb2.RegisterNodeResponse).node_id)

    def unregister(self, node_id: int) -> None:
        """Unregister a node; an unknown one is fine."""
        if node_id in self.nodes().values():
            request = control_pb2.UnregisterNodeRequest(node_id=node_id)
            self._call("unregister-node", request, control_pb2.UnregisterNodeResponse)

    def start_run(self, server_app: str, client_app: str, config: Mapping[str, Any]) -> int:
        """Start a run of an app that is installed here; returns its number."""
        fab = _bundle(server_app, client_app, config)
        request = control_pb2.StartRunRequest(fab=fab, override_config=user_config_to_proto(dict(config)))
        return int(self._call("start-run", request, control_pb2.StartRunResponse).run_id)

    def stop_run(self, run: int) -> None:
        """Stop a run; one that has ended is fine."""
        if self.run(run).status != "finished":
            self._call("stop-run", control_pb2.StopRunRequest(run_id=run), control_pb2.StopRunResponse)

    def run(self, run: int) -> Run:
        """The state of a run; an unknown one counts as stopped."""
        found = self._call("list-runs", control_pb2.ListRunsRequest(run_id=run), control_pb2.ListRunsResponse)
        if run not in found.run_dict:
            return Run("finished", "stopped", "the SuperLink does not know it")
        status = found.run_dict[run].status
        return Run(status.status, status.sub_status, status.details)

    def unfinished(self) -> list[int]:
        """Runs that have not ended."""
        found = self._call("list-runs", control_pb2.ListRunsRequest(), control_pb2.ListRunsResponse)
        return [int(run) for run, each in found.run_dict.items() if each.status.status != "finished"]

    def _call(self, call: str, request: Any, kind: Any) -> Any:
        content = request.SerializeToString(deterministic=True)
        headers = {"content-type": MEDIA, "accept": MEDIA}
        reply = self._http.post(CONTROL + call, content=content, headers=headers)
        reply.raise_for_status()
        return kind.FromString(reply.content)


def _bundle(server_app: str, client_app: str, config: Mapping[str, Any]) -> Fab:
    """A Flower bundle that only names installed apps."""
    project = {
        "project": {"name": "hedgerow-federation", "version": "0.1.0", "description": "", "dependencies": []},
        "tool": {
            "flwr": {
                "app": {
                    "publisher": "hedgerow",
                    "fab-include": ["README.md"],
                    "components": {"serverapp": server_app, "clientapp": client_app},
                    "config": dict(config),
                }
            }
        },
    }
    files = {"pyproject.toml": tomli_w.dumps(project).encode(), "README.md": b"Started by hedgerow up.\n"}
    content, _ = build_fab_from_files(files)
    return Fab(hash_str=hashlib.sha256(content).hexdigest(), content=content)
