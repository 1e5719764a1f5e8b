"""A grid whose nodes are told what the run is: by a description once, by its digest in each message.

A node that takes no code from a server has to know strategy and model as data.
The `query` message carries them; each later message names their digest and the
run. A node that has lost the description says so, and is sent it again.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, final

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

RECORD = "hedgerow.description"
UNKNOWN = "unknown-description"
"""What the reason of an error begins with, where a node does not know a digest."""


@dataclass(frozen=True)
class Description:
    """What nodes are told of a run.

    Attributes:
        json: strategy and task, as canonical JSON.
        run: name of the run.
        version: of Hedgerow.
        model_hash: of the model that the run begins with, 64 hex digits.
    """

    json: str
    run: str
    version: str
    model_hash: str

    @classmethod
    def of(cls, content: Mapping[str, Any], run: str, version: str, model_hash: str) -> "Description":
        """The description that says this.

        >>> Description.of({"b": 1, "a": [2]}, "00", "0.1.0", "ff").json
        '{"a":[2],"b":1}'
        """
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
        return cls(text, run, version, model_hash)

    @property
    def digest(self) -> str:
        """SHA-256 of the JSON, 64 hex digits."""
        return hashlib.sha256(self.json.encode()).hexdigest()

    def whole(self) -> ConfigRecord:
        """All of it, for a node that is asked who it is."""
        return ConfigRecord(
            {"digest": self.digest, "json": self.json, "run": self.run, "version": self.version,
             "model_hash": self.model_hash}
        )  # fmt: skip

    def named(self) -> ConfigRecord:
        """Its digest, for a node that was told before."""
        return ConfigRecord({"digest": self.digest, "run": self.run})


@final
class DescribedGrid(Grid):
    """A grid around another one; what it adds to a message is no part of the ledger of bytes."""

    def __init__(self, inner: Grid, description: Description) -> None:
        self._inner, self._whole, self._named = inner, description.whole(), description.named()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages, each with the description, or its digest."""
        contents: dict[int, RecordDict] = {}  # a cohort shares one
        described = []
        for message in messages:
            about, content = message.metadata, message.content
            if id(content) not in contents:
                record = self._whole if about.message_type == "query" else self._named
                contents[id(content)] = RecordDict({**content, RECORD: record})
            described.append(_message(contents[id(content)], message))
        return self._inner.push_messages(described)

    def explanation(self, reply: Message) -> Message | None:
        """The description, for a node that does not know it."""
        if not reply.has_error() or not (reply.error.reason or "").startswith(UNKNOWN):
            return None
        return Message(RecordDict(), dst_node_id=reply.metadata.src_node_id, message_type="query")

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """As the inner grid."""
        return self._inner.pull_messages(message_ids)

    def get_node_ids(self) -> Iterable[int]:
        """As the inner grid."""
        return self._inner.get_node_ids()

    def set_run(self, *arguments: Any, **others: Any) -> None:
        """As the inner grid."""
        self._inner.set_run(*arguments, **others)

    @property
    def run(self) -> Any:
        """As the inner grid."""
        return self._inner.run

    def create_message(self, *arguments: Any, **others: Any) -> Message:
        """As the inner grid."""
        return self._inner.create_message(*arguments, **others)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """As the inner grid."""
        return self._inner.send_and_receive(messages, timeout=timeout)


def _message(content: RecordDict, like: Message) -> Message:
    about = like.metadata
    return Message(
        content, dst_node_id=about.dst_node_id, message_type=about.message_type,
        group_id=about.group_id, ttl=about.ttl,
    )  # fmt: skip
