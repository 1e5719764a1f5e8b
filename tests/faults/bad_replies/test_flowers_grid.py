"""Flower's own grid under our server: a reply that cannot be put together is an error, and no exception."""

import hashlib
import sys
from importlib import import_module

import pytest
from flwr.app import ArrayRecord, Message, RecordDict
from flwr.app.message import make_message
from flwr.serverapp import Grid
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects

from hedgerow.recipe.announcement import Announcement
from hedgerow.server.described import DescribedGrid
from hedgerow.server.inflating import INFLATE, largest_reply, read_safely
from hedgerow.simulation.flower import task_identity
from tests.faults.bad_replies.objects import CANNOT
from tests.support import LAYOUT


def flowers_grid() -> Grid:
    """Of the class that a real ServerApp is given, without a server."""
    module = import_module("flwr.superlink.grid.http_grid")
    return object.__new__(module.HttpGrid)


@pytest.fixture
def packed():
    with task_identity(1):
        message = Message(RecordDict({"a": ArrayRecord()}), dst_node_id=5, message_type="train")
    about = message.metadata
    about.__dict__["_reply_to_message_id"] = hashlib.sha256().hexdigest()
    reply = make_message(about, content=message.content)
    return reply.object_id, {name: each.deflate() for name, each in get_all_nested_objects(reply).items()}


@pytest.mark.parametrize("wrap", [lambda grid: grid, lambda grid: DescribedGrid(grid, ABOUT)])
def test_the_function_that_flower_reads_a_reply_with_is_the_one_that_is_guarded(packed, wrap):
    grid, (top, objects) = flowers_grid(), packed
    module = sys.modules[type(grid).__module__]
    before = getattr(module, INFLATE)
    with read_safely(wrap(grid), largest_reply(LAYOUT)):
        whole = getattr(module, INFLATE)(top, dict(objects))
        assert whole.has_content()
        torn = getattr(module, INFLATE)(top, {top: objects[top]})
        assert torn.has_error()
        assert CANNOT in torn.error.reason
        assert torn.metadata.reply_to_message_id == whole.metadata.reply_to_message_id
    assert getattr(module, INFLATE) is before


ABOUT = Announcement.of({"strategy": {"preset": "fedavg"}}, run="00" * 16, version="0.1.0")
