"""The reply to a message, as Flower's own node would make it from the same answer."""

from typing import Any

from hedgerow.node.outbox import Outbox, Pending
from hedgerow.wire import objects
from hedgerow.wire.bundle import MOST, bundled
from hedgerow.wire.codec import decode, encode
from hedgerow.wire.envelope import MOST_ANSWERED
from hedgerow.wire.fleet import FLEET

_CLIENT_FAILED = 2
"""Flower's code of a client that raises."""


def reply_to(message: Any, come: Pending, node: int, outbox: Outbox) -> tuple[Any, Any, objects.Objects]:
    """The reply to a message: envelope, tree and objects; the same bytes each time."""
    asked = message.metadata
    about = FLEET["Metadata"](
        run_id=asked.run_id, src_node_id=node, dst_node_id=asked.src_node_id,
        reply_to_message_id=asked.message_id, group_id=asked.group_id, message_type=asked.message_type,
        ttl=asked.ttl - (come.made - asked.created_at), created_at=come.made,
    )  # fmt: skip
    if asked.HasField("dst_task_id"):
        about.src_task_id = asked.dst_task_id
    if asked.HasField("src_task_id"):
        about.dst_task_id = asked.src_task_id
    reply, children = FLEET["Message"](metadata=about), []
    found: objects.Objects = {}
    answer = b"" if come.error else outbox.answer(come.answer) or b""
    if come.error:
        reply.error.code, reply.error.reason = _CLIENT_FAILED, come.error
    if come.reply and len(answer) <= MOST_ANSWERED:
        if not come.error:
            reply.content.MergeFromString(encode(bundled(answer)))
        reply.metadata.message_id = come.reply
        return reply, FLEET["ObjectTree"](object_id=come.reply), found
    if not come.error:
        bundle = come.bundled and len(answer) <= MOST
        root, found = objects.pack(bundled(answer) if bundle else decode(answer))
        children = [_tree(root, found)]
    top = objects.add(
        found, "Message", [child.object_id for child in children], reply.SerializeToString(deterministic=True)
    )
    reply.metadata.message_id = top
    if not come.error:
        reply.content.SetInParent()
    return reply, FLEET["ObjectTree"](object_id=top, children=children), found


def _tree(root: str, found: objects.Objects) -> Any:
    below = [_tree(child, found) for child in objects.children(found[root])]
    return FLEET["ObjectTree"](object_id=root, children=below)
