"""The private Flower names that a grid needs, and nothing else.

Flower's public API cannot make a `Grid`: its `Run`, the identity of the running
task, the error codes, and a message's id and sender are all internal. They are
used here only, and `tests/api/test_flower_private.py` checks each on the
installed version.
"""

import copy
import time
from collections.abc import Iterator
from contextlib import contextmanager

from flwr.app import Error, Message, Metadata, RecordDict
from flwr.app.message import make_message
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.supercore.constant import SYSTEM_MESSAGE_TYPE
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

__all__ = [
    "SUPERLINK_NODE_ID",
    "Run",
    "client_error",
    "empty_run",
    "is_expired",
    "message_unavailable",
    "node_unavailable",
    "set_message_id",
    "task_identity",
    "with_content",
]

_IDENTITY_FIELDS = ("_task_id", "_run_id", "_node_id")


@contextmanager
def task_identity(run_id: int) -> Iterator[None]:
    """Let this process make instruction messages as the server of a run.

    Flower reads the sender and the run of a new `Message` from a process-wide
    identity. It is put back as it was afterwards, also after an exception.

    Raises:
        RuntimeError: an identity is set already, by another grid or by a real
            Flower task: the messages of one would carry the name of the other.
    """
    before = {field: TaskIdentity.__dict__[field] for field in _IDENTITY_FIELDS}
    if any(value is not None for value in before.values()):
        raise RuntimeError(
            "this process is already in a Flower run, and can be in one only; "
            "leave that one first, or start this one in a process of its own"
        )
    TaskIdentity.task_id = 1
    TaskIdentity.run_id = run_id
    TaskIdentity.node_id = SUPERLINK_NODE_ID
    try:
        yield
    finally:
        for field, value in before.items():
            setattr(TaskIdentity, field, value)


def empty_run(run_id: int) -> Run:
    """A run without a bundle, as `Grid.run` returns it."""
    return Run.create_empty(run_id)


def set_message_id(message: Message, message_id: str) -> None:
    """Give a message its id, as the SuperLink does on its way.

    Flower offers no setter; its own in-memory grid writes the same field.
    """
    message.metadata.__dict__["_message_id"] = message_id


def with_content(message: Message, content: RecordDict) -> Message:
    """The same message, with metadata of its own and other records."""
    return make_message(copy.copy(message.metadata), content=content)


def client_error(message: Message, error: BaseException) -> Message:
    """The error reply of a client that raised, worded as a SuperNode words it."""
    reason = f"{type(error)}:<'{error}'>"
    return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason), reply_to=message)


def node_unavailable(message: Message) -> Message:
    """The error reply for a node that is not there.

    As Flower's own, it answers `message` but comes from the SuperLink's node
    id, because no client made it.
    """
    reason = f"Error: Node Unavailable - there is no node {message.metadata.dst_node_id}."
    reply = Message(Error(ErrorCode.NODE_UNAVAILABLE, reason), reply_to=message)
    reply.metadata.__dict__["_src_node_id"] = SUPERLINK_NODE_ID
    return reply


def message_unavailable(message_id: str, run_id: int) -> Message:
    """The error reply for a message that expired, was pulled before or never existed."""
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
    reason = "Error: Message Unavailable - it has expired, was pulled already, or never existed."
    return make_message(metadata, error=Error(ErrorCode.MESSAGE_UNAVAILABLE, reason))


def is_expired(message: Message) -> bool:
    """Whether a message's time to live, counted from when it was made, has run out."""
    return message.metadata.created_at + message.metadata.ttl <= time.time()
