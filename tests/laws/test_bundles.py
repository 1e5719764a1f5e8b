"""A content as one record: it comes back, and nobody is sent one who has not shown to read it."""

from collections.abc import Iterable

import numpy as np
import pytest
from flwr.app import ConfigRecord as FlowerConfig
from flwr.app import Message, Metadata, RecordDict
from flwr.app.message.message import make_message
from hypothesis import given, settings
from hypothesis import strategies as st

from hedgerow.grids import GridAround
from hedgerow.recipe.announcement import RECORD, Announcement
from hedgerow.records import from_flower, to_flower
from hedgerow.server.described import DescribedGrid
from hedgerow.types import PayloadError
from hedgerow.wire.arrays import pack_arrays
from hedgerow.wire.bundle import CONTENT, MOST, NAME, bundled, opened, unbundled
from hedgerow.wire.codec import encode
from hedgerow.wire.content import ConfigRecord
from tests.laws.test_wire import contents

RUN = Announcement.of({"a": 1}, run="00" * 16, version="0.1.0")


class Nodes(GridAround):
    """Node 1 bundles what it answers, node 2 does not; both echo what they are sent, as it arrives."""

    def __init__(self) -> None:
        self.sent: list[Message] = []

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        self.sent += messages
        return [str(number) for number, _ in enumerate(self.sent)]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        for message in self.sent:
            node, content = message.metadata.dst_node_id, opened(from_flower(message.content), RECORD)
            data = encode(content)
            answer = bundled(data) if node == 1 and len(data) <= MOST else content
            about = Metadata(1, "", node, 0, message.metadata.message_id, "", 0.0, 3600.0, "train")
            yield make_message(about, to_flower(answer))
        self.sent = []


def message(node: int, content: RecordDict, kind: str) -> Message:
    return make_message(Metadata(1, "", 0, node, "", "", 0.0, 3600.0, kind), content)


@given(contents, st.booleans())
@settings(max_examples=60)
def test_a_bundle_holds_all_of_a_content(content, request_too) -> None:
    assert unbundled(bundled(encode(content))) == content
    if RECORD not in content:
        about = ConfigRecord({**RUN.short(), **({CONTENT: encode(content)} if request_too else {})})
        arrives = {RECORD: about} if request_too else {**content, RECORD: about}
        assert opened(arrives, RECORD) == {**content, RECORD: RUN.short()}


@pytest.mark.parametrize(
    "content",
    [
        {NAME: ConfigRecord({CONTENT: b"\xff"})},
        {NAME: ConfigRecord({CONTENT: "text"})},
        {NAME: ConfigRecord()},
        {**bundled(b""), "more": ConfigRecord()},
        {NAME: pack_arrays({CONTENT: np.zeros(1, np.float32)})},
    ],
)  # fmt: skip
def test_what_is_no_bundle_is_refused(content) -> None:
    with pytest.raises(PayloadError):
        unbundled(content)


def test_more_than_a_bundle_holds_is_refused_before_it_is_decoded() -> None:
    for read in (unbundled, lambda content: opened(content, NAME)):
        with pytest.raises(PayloadError, match="1,048,577 bytes in one piece; at most 1,048,576 are read"):
            read({NAME: ConfigRecord({CONTENT: bytes(MOST + 1)})})


def test_a_request_that_hides_a_second_description_is_refused() -> None:
    inner = encode({RECORD: RUN.short()})
    for content in (
        {RECORD: ConfigRecord({**RUN.short(), CONTENT: inner})},
        {RECORD: ConfigRecord({**RUN.short(), CONTENT: b""}), "more": ConfigRecord()},
        {RECORD: ConfigRecord({**RUN.short(), CONTENT: b"\xff"})},
    ):
        with pytest.raises(PayloadError):
            opened(content, RECORD)


def test_a_node_gets_bundles_after_it_has_sent_one_and_no_other_node_does() -> None:
    inner = Nodes()
    grid = DescribedGrid(inner, RUN)
    shared = to_flower({"x": pack_arrays({"a": np.arange(3, dtype=np.float32)}), "y": ConfigRecord({"b": 1})})
    expected = from_flower(shared)

    def told(kind: str, content: RecordDict) -> list[list[str]]:
        grid.push_messages([message(node, content, kind) for node in (1, 2)])
        records = [sorted(each.content) for each in inner.sent]
        for reply in grid.pull_messages([]):
            found = from_flower(reply.content)
            about = found.pop(RECORD)
            assert ("json" in about, found) == (kind == "query", expected if content is shared else {})
        return records

    assert told("query", RecordDict()) == [[RECORD], [RECORD]]
    assert told("train", shared) == [[RECORD], sorted([RECORD, "x", "y"])]
    assert from_flower(shared) == expected, "what is measured is the content as it was"
    large = to_flower({"x": pack_arrays({"a": np.zeros(MOST // 4 + 1, np.float32)})})
    expected = from_flower(large)
    shared = large
    assert told("train", large) == [sorted([RECORD, "x"])] * 2


def test_a_bundled_request_is_sent_anew_with_the_whole_description() -> None:
    inner = Nodes()
    grid = DescribedGrid(inner, RUN)
    content = to_flower({"y": ConfigRecord({"b": 1})})
    grid.push_messages([message(1, RecordDict(), "query")])
    list(grid.pull_messages([]))
    first = message(1, content, "train")
    grid.push_messages([first])
    (asked,) = inner.sent
    assert isinstance(asked.content[RECORD], FlowerConfig)
    assert "json" not in asked.content[RECORD]
    inner.sent = []
    grid._push([first], whole=True)
    assert asked.content[RECORD]["json"] == RUN.description
    assert opened(from_flower(asked.content), RECORD)["y"] == {"b": 1}
