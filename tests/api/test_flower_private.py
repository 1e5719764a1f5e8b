"""The private Flower names that Hedgerow uses exist and behave, on the installed version."""

import inspect
import pickle
import re
import time
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, Metadata, MetricRecord, RecordDict
from flwr.app.message import make_message
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.common.serde import recorddict_to_proto
from flwr.server.superlink.fleet.vce.vce_api import _register_nodes
from flwr.server.superlink.linkstate import LinkStateFactory
from flwr.server.superlink.linkstate.utils import (
    create_message_error_unavailable_ins_message,
    create_message_error_unavailable_res_message,
)
from flwr.serverapp import Grid
from flwr.simulation.run_simulation import _run_simulation
from flwr.supercore.constant import FLWR_IN_MEMORY_DB_NAME, SYSTEM_MESSAGE_TYPE
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity
from flwr.supercore.telemetry import EventType
from flwr.superlink.federation import NoOpFederationManager
from flwr.superlink.grid import InMemoryGrid

import hedgerow.simulation
from hedgerow.records import filled
from hedgerow.simulation import flower

PUBLIC = {"flwr.app", "flwr.clientapp", "flwr.serverapp"}


def message(node_id: int = 7, ttl: float | None = None) -> Message:
    return Message(RecordDict(), node_id, "train", ttl=ttl)


def test_only_one_file_of_the_simulation_imports_private_flower_names() -> None:
    files = sorted(Path(inspect.getfile(hedgerow.simulation)).parent.glob("*.py"))
    assert len(files) >= 4
    private = {}
    for file in files:
        names = re.findall(r"^\s*(?:from|import) (flwr[\w.]*)", file.read_text(), re.MULTILINE)
        private[file.name] = {n for n in names if n not in PUBLIC}
    assert [name for name, found in private.items() if found] == ["flower.py"]


def test_a_message_cannot_be_made_without_the_identity_of_a_task() -> None:
    with pytest.raises(RuntimeError, match="is not set"):
        message()


def test_the_identity_names_run_and_sender_and_is_put_back() -> None:
    with flower.task_identity(5):
        made = message()
        assert (made.metadata.run_id, made.metadata.src_node_id) == (5, SUPERLINK_NODE_ID)
    with pytest.raises(RuntimeError, match=r"TaskIdentity\.run_id is not set"):
        _ = TaskIdentity.run_id
    with pytest.raises(RuntimeError, match=r"TaskIdentity\.task_id is not set"):
        _ = TaskIdentity.task_id


def test_the_identity_is_put_back_after_an_exception_and_cannot_be_taken_twice() -> None:
    twice = pytest.raises(RuntimeError, match="already in a Flower run")
    with twice, flower.task_identity(5), flower.task_identity(6):
        pytest.fail("two runs in one process")
    with flower.task_identity(6):
        assert TaskIdentity.run_id == 6


def test_a_message_has_no_id_until_it_is_given_one() -> None:
    with flower.task_identity(1):
        made = message()
    assert made.metadata.message_id == ""
    flower.set_message_id(made, "a")
    assert made.metadata.message_id == "a"
    assert Message(RecordDict(), reply_to=made).metadata.reply_to_message_id == "a"


def test_a_message_with_other_content_has_metadata_of_its_own() -> None:
    with flower.task_identity(1):
        made = message()
    records = RecordDict({"config": ConfigRecord({"a": 1})})
    other = flower.with_content(made, records)
    assert other.content is records
    assert other.metadata == made.metadata
    other.metadata.ttl = 1
    assert made.metadata.ttl != 1
    assert len(made.content) == 0


def test_the_client_error_is_worded_as_a_supernode_words_it() -> None:
    with flower.task_identity(1):
        made = message()
    reply = flower.client_error(made, ZeroDivisionError("division by zero"))
    # The format is written down in flwr.supernode.runtime.run_clientapp.
    assert reply.error.reason == "<class 'ZeroDivisionError'>:<'division by zero'>"
    assert reply.error.code == ErrorCode.CLIENT_APP_RAISED_EXCEPTION == 2
    assert (reply.metadata.src_node_id, reply.metadata.dst_node_id) == (7, SUPERLINK_NODE_ID)


def test_an_absent_node_gives_the_reply_that_the_superlink_gives() -> None:
    with flower.task_identity(1):
        made = message()
    flower.set_message_id(made, "a")
    ours = flower.node_unavailable(made)
    theirs = create_message_error_unavailable_res_message(made.metadata, "node_unavail")
    assert_alike(ours, theirs)
    assert ours.error.code == ErrorCode.NODE_UNAVAILABLE


def test_an_absent_message_gives_the_reply_that_the_superlink_gives() -> None:
    ours = flower.message_unavailable("a", run_id=1)
    theirs = create_message_error_unavailable_ins_message("a", 1)
    assert_alike(ours, theirs)
    assert ours.error.code == ErrorCode.MESSAGE_UNAVAILABLE
    assert ours.metadata.message_type == SYSTEM_MESSAGE_TYPE


def assert_alike(ours: Message, theirs: Message) -> None:
    """Equal but for the message's own id, the time and the wording of the reason."""
    assert ours.error.code == theirs.error.code
    assert (ours.error.reason or "").split(" - ")[0].split(" — ")[0] in (theirs.error.reason or "")
    differ = {"_message_id", "_created_at", "_ttl"}
    mine, flowers = vars(ours.metadata), vars(theirs.metadata)
    assert mine.keys() == flowers.keys()
    for key in mine.keys() - differ:
        assert mine[key] == flowers[key], key
    assert ours.metadata.ttl == pytest.approx(theirs.metadata.ttl, abs=1)
    assert ours.metadata.created_at == pytest.approx(theirs.metadata.created_at, abs=1)


def test_time_to_live_counts_seconds_from_when_a_message_was_made() -> None:
    with flower.task_identity(1):
        short, long = message(ttl=10), message(ttl=1000)
    assert not flower.is_expired(short)
    for made in (short, long):
        made.metadata.created_at = time.time() - 11
    assert flower.is_expired(short)
    assert not flower.is_expired(long)


def test_an_empty_run_is_what_a_grid_must_return() -> None:
    run = flower.empty_run(9)
    assert isinstance(run, Run)
    assert run.run_id == 9
    assert inspect.signature(Grid.set_run).parameters["run"].annotation in (Run, "Run")


def test_a_grid_has_the_abstract_methods_that_ours_implements() -> None:
    assert Grid.__abstractmethods__ == {
        "set_run",
        "run",
        "create_message",
        "get_node_ids",
        "push_messages",
        "pull_messages",
        "send_and_receive",
    }


def test_a_message_is_made_from_metadata_and_either_content_or_error() -> None:
    metadata = Metadata(1, "a", 2, 3, "b", "", time.time(), 60.0, "train.stage")
    assert make_message(metadata, content=RecordDict()).has_content()
    assert make_message(metadata, error=Error(2, "no")).has_error()


APP = {
    "project": {"name": "a", "version": "1"},
    "tool": {"flwr": {"app": {"publisher": "p", "components": {"serverapp": "a:s", "clientapp": "a:c"}}}},
}


def test_flower_says_what_is_wrong_with_an_app() -> None:
    assert flower.app_mistakes(APP) == []
    assert flower.app_mistakes({}) == ["Missing [project] section", "Missing [tool.flwr.app] section"]
    config = {"tool": {"flwr": {"app": {**APP["tool"]["flwr"]["app"], "config": {"a": [1]}}}}}
    assert "key a needs to be of type" in flower.app_mistakes({**APP, **config})[0]


def test_run_configs_are_flat_and_read_as_flower_reads_them() -> None:
    assert flower.flat_config({"a": {"b": {"c": 1}}, "d": "x"}) == {"a.b.c": 1, "d": "x"}
    given = flower.parsed_run_config(["a=1 b.c=0.5", "d='two words' e=true"])
    assert given == {"a": 1, "b.c": 0.5, "d": "two words", "e": True}
    assert flower.parsed_run_config([]) == {}
    with pytest.raises(ValueError, match="invalid format"):
        flower.parsed_run_config(["a=text"])
    # What it cannot read it passes over; `read_app` refuses that before.
    assert flower.parsed_run_config(["nonsense"]) == {}


def test_flowers_grid_knows_its_nodes_in_the_order_in_which_they_were_made() -> None:
    factory = LinkStateFactory(FLWR_IN_MEMORY_DB_NAME, NoOpFederationManager(), ObjectStoreFactory())
    nodes = list(_register_nodes(20, factory))
    assert flower.nodes_by_partition(InMemoryGrid(factory)) == nodes
    assert set(nodes) != set(range(20))


def test_flowers_simulation_takes_what_we_give_it() -> None:
    names = inspect.signature(_run_simulation).parameters
    assert {
        "num_supernodes", "client_app", "server_app", "backend_config", "app_dir", "is_app", "run",
        "server_app_context", "exit_event",
    } <= names.keys()  # fmt: skip
    run = flower.empty_run(1)
    assert (run.primary_task_id, run.override_config, run.federation_id) == (None, {}, "")
    assert EventType.FLWR_SIMULATION_RUN_LEAVE


def test_an_instruction_is_what_the_server_would_make_and_needs_no_identity() -> None:
    ours = flower.instruction(1, "a", 7, RecordDict(), message_type="train", group_id="3")
    with flower.task_identity(1):
        theirs = Message(RecordDict(), 7, "train", group_id="3")
    differ = {"_message_id", "_created_at", "_src_task_id"}
    mine, flowers = vars(ours.metadata), vars(theirs.metadata)
    assert mine.keys() == flowers.keys()
    for key in mine.keys() - differ:
        assert mine[key] == flowers[key], key
    assert ours.metadata.message_id == "a"


def test_the_error_of_a_client_whose_process_ended_is_flowers_own() -> None:
    asked = flower.instruction(1, "a", 7, RecordDict(), message_type="train", group_id="3")
    reply = flower.client_died(asked, "killed")
    assert (reply.error.code, reply.error.reason) == (ErrorCode.CLIENT_APP_CRASHED, "killed")
    assert ErrorCode.CLIENT_APP_CRASHED == 8
    assert (reply.metadata.src_node_id, reply.metadata.reply_to_message_id) == (7, "a")


def test_messages_travel_between_processes_as_they_are() -> None:
    asked = flower.instruction(
        1, "a", 7, RecordDict({"c": ConfigRecord({"k": 1})}), message_type="train", group_id="3"
    )
    again = pickle.loads(pickle.dumps(asked))
    assert again.content == asked.content
    assert vars(again.metadata) == vars(asked.metadata)


@pytest.mark.parametrize(
    ("kind", "items"),
    [
        (ArrayRecord, {"values": Array(np.arange(3, dtype=np.float32))}),
        (ConfigRecord, {"round": 3, "client": "a"}),
        (MetricRecord, {"weight": 1.5, "num-examples": 2}),
        (RecordDict, {"config": ConfigRecord({"round": 3})}),
    ],
)
def test_a_record_that_is_filled_at_once_is_one_that_was_filled_item_by_item(kind, items) -> None:
    made, usual = filled(kind(), items), kind(items)
    assert made == usual
    assert list(made.items()) == list(usual.items())
    records = [r if kind is RecordDict else RecordDict({"r": r}) for r in (made, usual)]
    first, second = (recorddict_to_proto(r).SerializeToString(deterministic=True) for r in records)
    assert first == second
