"""The messages between a node and a SuperLink, as Protocol Buffers; the field numbers are Flower's.

This is the part of Flower's Fleet API that a node needs, `POST /v1/fleet/NAME` with a request as the
body and a reply in the answer; built here, so that a device does not need Flower. A test compares every
field with the installed Flower. A message's records are not sent in it, but as objects (see
`wire.objects`): its `content` is present if it has any, and empty.
"""

from typing import Any

from google.protobuf import descriptor_pb2

from hedgerow.wire.schema import add_field, message_classes

_PACKAGE = "hedgerow.fleet"  # not Flower's name, because both may be loaded in one process
_NODE, _RUN, _OBJECT = ("node", 1, "Node"), ("run_id", 2, "uint64"), ("object_id", 3, "string")
_TREES = ("message_object_trees", 3, "ObjectTree*")

Field = tuple[str, int, str]

SCHEMA: dict[str, tuple[Field, ...]] = {
    "Node": (("node_id", 1, "uint64"),),
    "ObjectTree": (("object_id", 1, "string"), ("children", 2, "ObjectTree*")),
    "Metadata": (
        ("run_id", 1, "uint64"), ("message_id", 2, "string"), ("src_node_id", 3, "uint64"),
        ("dst_node_id", 4, "uint64"), ("reply_to_message_id", 5, "string"), ("group_id", 6, "string"),
        ("ttl", 7, "double"), ("message_type", 8, "string"), ("created_at", 9, "double"),
        ("src_task_id", 10, "uint64?"), ("dst_task_id", 11, "uint64?"),
    ),
    "Error": (("code", 1, "sint64"), ("reason", 2, "string")),
    "RecordDict": (),
    "Message": (("metadata", 1, "Metadata"), ("content", 2, "RecordDict"), ("error", 3, "Error")),
    "RegisterNodeFleetRequest": (("public_key", 1, "bytes"),),
    "RegisterNodeFleetResponse": (("node_id", 1, "uint64"),),
    "ActivateNodeRequest": (("public_key", 1, "bytes"), ("heartbeat_interval", 2, "double")),
    "ActivateNodeResponse": (("node_id", 1, "uint64"),),
    "DeactivateNodeRequest": (("node_id", 1, "uint64"),),
    "UnregisterNodeFleetRequest": (("node_id", 1, "uint64"),),
    "SendNodeHeartbeatRequest": (_NODE, ("heartbeat_interval", 2, "double")),
    "SendNodeHeartbeatResponse": (("success", 1, "bool"),),
    "PullMessagesRequest": (_NODE,),
    "PullMessagesResponse": (("messages_list", 2, "Message*"), _TREES),
    "PushMessagesRequest": (_NODE, ("messages_list", 2, "Message*"), _TREES),
    "PushMessagesResponse": (("objects_to_push", 3, "string*"), ("session_id", 4, "string")),
    "PullObjectRequest": (_NODE, _RUN, _OBJECT),
    "PullObjectResponse": (
        ("object_found", 1, "bool"), ("object_available", 2, "bool"), ("object_content", 3, "bytes"),
    ),
    "PushObjectRequest": (_NODE, _RUN, _OBJECT, ("object_content", 4, "bytes"), ("session_id", 5, "string")),
    "PushObjectResponse": (("stored", 1, "bool"),),
    "ConfirmMessageReceivedRequest": (_NODE, _RUN, ("message_object_id", 3, "string")),
}  # fmt: skip
"""Fields of each message: name, number and type; `*` is repeated, `?` may be left out."""


def file_descriptor() -> descriptor_pb2.FileDescriptorProto:
    """The schema, as from `protoc`."""
    file = descriptor_pb2.FileDescriptorProto(name="hedgerow/fleet.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in SCHEMA.items():
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            add_field(
                message, field, number, kind.rstrip("*?"), repeated=kind.endswith("*"), package=_PACKAGE
            )
            if kind.endswith("?"):  # proto3 puts an optional field into its own oneof
                message.field[-1].proto3_optional = True
                message.field[-1].oneof_index = len(message.oneof_decl)
                message.oneof_decl.add(name=f"_{field}")
    return file


FLEET: dict[str, Any] = message_classes(file_descriptor())
"""The classes of all messages, by name.

>>> FLEET["Node"](node_id=5).SerializeToString().hex()
'0805'
"""
