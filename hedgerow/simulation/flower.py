"""The private Flower names that a grid needs, and nothing else.

A `Grid` cannot be implemented with Flower's public API: its `Run`, the identity
of the running task, the error codes, and a message's id and sender are all
internal. They are used only here, and `tests/api/test_flower_private.py` checks
each of them on the installed version.
"""

import copy
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from flwr.app import DEFAULT_TTL, Context, Error, Message, Metadata, RecordDict
from flwr.app.message import make_message
from flwr.clientapp import ClientApp
from flwr.common.config import flatten_dict, parse_config_args, validate_fields_in_config
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.serverapp import Grid, ServerApp
from flwr.supercore.constant import SYSTEM_MESSAGE_TYPE
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

__all__ = [
    "SUPERLINK_NODE_ID",
    "Run",
    "app_mistakes",
    "client_died",
    "client_error",
    "empty_run",
    "flat_config",
    "instruction",
    "is_expired",
    "message_unavailable",
    "node_unavailable",
    "nodes_by_partition",
    "parsed_run_config",
    "run_on_ray",
    "set_message_id",
    "task_identity",
    "wait_for_nodes",
    "with_content",
]

_IDENTITY_FIELDS = ("_task_id", "_run_id", "_node_id")
_identity_lock = threading.Lock()
_identity_taken: dict[int, int] = {}


@contextmanager
def task_identity(run_id: int) -> Iterator[None]:
    """Let this process make instruction messages as the server of a run.

    Flower reads the sender and the run of a new `Message` from a process-wide
    identity. It is removed when the last user leaves, even after an exception;
    several users, in any threads, may be the server of the same run.

    Raises:
        RuntimeError: another run's identity is set, such as that of a real
            Flower task: messages of one run would carry the identity of the other.
    """
    with _identity_lock:
        if not _identity_taken.get(run_id):
            if any(TaskIdentity.__dict__[field] is not None for field in _IDENTITY_FIELDS):
                raise RuntimeError(
                    "this process is already in a Flower run, and can be in only one; "
                    "leave that one first, or start this one in a process of its own"
                )
            _set_identity(1, run_id, SUPERLINK_NODE_ID)
        _identity_taken[run_id] = _identity_taken.get(run_id, 0) + 1
    try:
        yield
    finally:
        with _identity_lock:
            _identity_taken[run_id] -= 1
            if not _identity_taken[run_id]:
                _set_identity(None, None, None)


def _set_identity(*values: int | None) -> None:
    for field, value in zip(_IDENTITY_FIELDS, values, strict=True):
        setattr(TaskIdentity, field, value)


def empty_run(run_id: int) -> Run:
    """A run without a bundle, as `Grid.run` returns it."""
    return Run.create_empty(run_id)


def set_message_id(message: Message, message_id: str) -> None:
    """Give a message its id, as the SuperLink does when it passes the message on.

    Flower offers no setter; its own in-memory grid writes the same field.
    """
    message.metadata.__dict__["_message_id"] = message_id


def instruction(
    run_id: int,
    message_id: str,
    node_id: int,
    content: RecordDict,
    *,
    message_type: str,
    group_id: str,
    ttl: float | None = None,
) -> Message:
    """A message from the server to a node, even if this process has no Flower identity."""
    metadata = Metadata(
        run_id=run_id,
        message_id=message_id,
        src_node_id=SUPERLINK_NODE_ID,
        dst_node_id=node_id,
        reply_to_message_id="",
        group_id=group_id,
        created_at=time.time(),
        ttl=DEFAULT_TTL if ttl is None else ttl,
        message_type=message_type,
    )
    return make_message(metadata, content=content)


def with_content(message: Message, content: RecordDict) -> Message:
    """The same message, with metadata of its own and other records."""
    return make_message(copy.copy(message.metadata), content=content)


def client_error(message: Message, error: BaseException) -> Message:
    """The error reply of a client that raised, in a SuperNode's wording."""
    reason = f"{type(error)}:<'{error}'>"
    return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason), reply_to=message)


def client_died(message: Message, reason: str) -> Message:
    """The error reply of a client whose process ended."""
    return Message(Error(ErrorCode.CLIENT_APP_CRASHED, reason), reply_to=message)


def node_unavailable(message: Message) -> Message:
    """The error reply for a node that does not exist.

    Like Flower's own, it answers `message` but comes from the SuperLink's node
    id, because no client made it.
    """
    reason = f"Error: Node Unavailable - there is no node {message.metadata.dst_node_id}."
    reply = Message(Error(ErrorCode.NODE_UNAVAILABLE, reason), reply_to=message)
    reply.metadata.__dict__["_src_node_id"] = SUPERLINK_NODE_ID
    return reply


def message_unavailable(message_id: str, run_id: int) -> Message:
    """The error reply for a message that expired, was pulled before or never existed."""
    reason = "Error: Message Unavailable - it has expired, was pulled already, or never existed."
    return _from_superlink(message_id, run_id, Error(ErrorCode.MESSAGE_UNAVAILABLE, reason))


def lost(message_id: str = "", run_id: int = 0) -> Message:
    """The error reply for a message whose node is not heard of any more."""
    reason = "Error: Node Unavailable - nothing is heard of it."
    return _from_superlink(message_id, run_id, Error(ErrorCode.NODE_UNAVAILABLE, reason))


def _from_superlink(message_id: str, run_id: int, error: Error) -> Message:
    metadata = Metadata(
        run_id=run_id,
        message_id="",
        src_node_id=SUPERLINK_NODE_ID,
        dst_node_id=SUPERLINK_NODE_ID,
        reply_to_message_id=message_id,
        group_id="",
        created_at=time.time(),
        ttl=0,
        message_type=SYSTEM_MESSAGE_TYPE,
    )
    return make_message(metadata, error=error)


def is_expired(message: Message) -> bool:
    """Whether a message's time to live, counted from its creation, has run out."""
    return message.metadata.created_at + message.metadata.ttl <= time.time()


def app_mistakes(pyproject: Mapping[str, Any]) -> list[str]:
    """What Flower would refuse in an app's `pyproject.toml`; empty if nothing."""
    try:
        return validate_fields_in_config(dict(pyproject))[1]
    except ValueError as error:  # a value of a type that a run config cannot hold
        return [str(error)]


def flat_config(config: Mapping[str, Any]) -> dict[str, bool | float | int | str]:
    """A run config without nesting: keys of a table are prefixed with its name and a dot."""
    return flatten_dict(dict(config))


def parsed_run_config(texts: Iterable[str]) -> dict[str, bool | float | int | str]:
    """Overrides of a run config as `flwr run --run-config` reads them.

    Raises:
        ValueError: Flower cannot read a text.
        OSError: a TOML file cannot be read.
    """
    try:
        return parse_config_args(list(texts))
    except click.ClickException as error:
        raise ValueError(error.message) from None


def nodes_by_partition(grid: Grid) -> list[int]:
    """Node ids of Flower's in-memory grid, whose own order is random, in the order of their partitions."""
    return [node.node_id for node in grid.state.get_node_info()]  # type: ignore[attr-defined]


def wait_for_nodes(grid: Grid, number: int, patience: float = 60.0) -> None:
    """Wait until Flower's simulation has registered all nodes, which it does while the server app runs.

    Raises:
        RuntimeError: no further node was registered for `patience` seconds.
    """
    there, since = 0, time.monotonic()
    while there < number:
        time.sleep(0.05)
        now = len(list(grid.get_node_ids()))
        if now > there:
            there, since = now, time.monotonic()
        elif time.monotonic() - since > patience:
            raise RuntimeError(f"Flower's simulation has registered only {there} of {number} nodes")


def run_on_ray(
    server_app: ServerApp,
    client_app: ClientApp,
    num_clients: int,
    *,
    folder: Path,
    run_config: Mapping[str, bool | float | int | str],
    overrides: Mapping[str, bool | float | int | str],
    workers: int,
) -> None:
    """Run apps on Flower's own simulation, as `flwr run` does, but without a SuperLink and a bundle.

    Clients get the run config of the app in `folder`, with `overrides` applied.

    Raises:
        ModuleNotFoundError: Ray is not installed.
        Exception: whatever the server app raises.
    """
    import ray  # noqa: F401  # without Ray, Flower would end the process
    from flwr.simulation.run_simulation import _run_simulation
    from flwr.supercore.constant import NOOP_FEDERATION_ID
    from flwr.supercore.telemetry import EventType

    run = Run.create_empty(1)
    run.primary_task_id = 1
    run.federation_id = NOOP_FEDERATION_ID
    run.override_config = dict(overrides)
    context = Context(run.run_id, SUPERLINK_NODE_ID, {}, RecordDict(), dict(run_config))
    with task_identity(run.run_id):
        _run_simulation(
            num_supernodes=num_clients,
            client_app=client_app,
            server_app=server_app,
            backend_config={
                "client_resources": {"num_cpus": 1},
                "init_args": {"num_cpus": workers, "address": "local"},  # else it joins any cluster
            },
            app_dir=str(folder),
            is_app=True,
            run=run,
            server_app_context=context,
            exit_event=EventType.FLWR_SIMULATION_RUN_LEAVE,
        )
