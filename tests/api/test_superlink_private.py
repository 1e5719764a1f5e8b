"""What the coordinator takes of Flower's private names is there, on the installed version."""

import inspect
import re
from dataclasses import replace
from pathlib import Path

import pytest
from flwr.cli.config_utils import get_fab_metadata
from flwr.common.config import get_fab_config
from flwr.proto import control_pb2, fleet_pb2, heartbeat_pb2, message_pb2
from flwr.supercore.inflatable.inflatable_utils import (
    ObjectPullError,
    ObjectPushError,
    ObjectUnavailableError,
)
from flwr.superlink.cli.flower_superlink import _parse_args_run_superlink
from flwr.superlink.grid import http_grid
from flwr.superlink.routers.control import router as control_router
from flwr.superlink.routers.fleet.router import router as fleet_router

import hedgerow.coordinator
from hedgerow.coordinator.folder import FederationFolder
from hedgerow.coordinator.superlink import (
    CONTROL,
    FLEET,
    RELAYED,
    _bundle,
    asks_for_object,
    beat_seconds,
    brings_object,
    command,
    let_messages_be_answered_early,
    look_often_for_replies,
    message_id,
    named_object,
)

PUBLIC = {"flwr.app", "flwr.clientapp", "flwr.serverapp"}
KEPT_OUT = {"register-node", "unregister-node", "get-fab"}


def test_only_two_files_of_the_coordinator_import_private_flower_names():
    files = sorted(Path(inspect.getfile(hedgerow.coordinator)).parent.glob("*.py"))
    assert len(files) >= 12
    private = {
        file.name
        for file in files
        if set(re.findall(r"^\s*(?:from|import) (flwr[\w.]*)", file.read_text(), re.MULTILINE)) - PUBLIC
    }
    assert private == {"envelopes.py", "superlink.py"}


def test_the_list_of_open_paths_is_flowers_fleet_api_without_registration_and_code():
    """A call that a new Flower adds is looked at before it is opened."""
    assert {route.path for route in fleet_router.routes} == RELAYED | {FLEET + call for call in KEPT_OUT}


def test_the_calls_of_the_control_api_are_there():
    paths = {route.path for route in control_router.routes}
    calls = {"list-nodes", "register-node", "unregister-node", "start-run", "stop-run", "list-runs"}
    assert {CONTROL + call for call in calls} <= paths
    node = control_pb2.ListNodesResponse().nodes_info.add()
    assert (node.node_id, node.public_key, node.status) == (0, b"", "")
    run = control_pb2.ListRunsResponse().run_dict[7]
    assert (run.status.status, run.status.sub_status, run.status.details) == ("", "", "")


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")  # Flower's own
def test_a_bundle_only_names_what_is_installed():
    fab = _bundle("a.b:server", "c.d:client", {"run": "x"})
    assert get_fab_metadata(fab.content) == ("hedgerow/hedgerow-federation", "0.1.0")
    app = get_fab_config(fab.content)["tool"]["flwr"]["app"]
    assert app["components"] == {"serverapp": "a.b:server", "clientapp": "c.d:client"}
    assert _bundle("a.b:server", "c.d:client", {"run": "x"}) == fab


def test_a_pull_that_brings_a_message_is_told_from_one_that_does_not():
    empty, full = fleet_pb2.PullMessagesResponse(), fleet_pb2.PullMessagesResponse()
    full.messages_list.add().metadata.message_id = "ab"
    assert message_id(full.SerializeToString()) == "ab"
    assert message_id(empty.SerializeToString()) == ""


def test_a_request_for_an_object_is_read_and_another_nodes_is_not():
    asked = message_pb2.PullObjectRequest(run_id=3, object_id="ab")
    asked.node.node_id = 7
    body = asked.SerializeToString()
    assert asks_for_object(body, 7) == (3, "ab")
    assert asks_for_object(body, 8) is None
    assert asks_for_object(b"\xff", 7) is None
    there = message_pb2.PullObjectResponse(object_found=True, object_available=True, object_content=b"x")
    assert brings_object(there.SerializeToString())
    assert not brings_object(message_pb2.PullObjectResponse(object_found=True).SerializeToString())


def test_what_object_a_call_is_about_is_read_of_each_kind_of_call():
    for path, body in (
        ("pull-object", message_pb2.PullObjectRequest(object_id="ab")),
        ("push-object", message_pb2.PushObjectRequest(object_id="ab", object_content=b"x")),
        ("confirm-message-received", message_pb2.ConfirmMessageReceivedRequest(message_object_id="ab")),
    ):
        assert named_object(FLEET + path, body.SerializeToString()) == "ab"
        assert named_object(FLEET + path, b"\xff") == ""
    assert named_object(FLEET + "pull-messages", b"") == ""


def test_a_sign_of_life_that_was_taken_has_its_interval():
    body = heartbeat_pb2.SendNodeHeartbeatRequest(heartbeat_interval=30.0).SerializeToString()
    taken = heartbeat_pb2.SendNodeHeartbeatResponse(success=True).SerializeToString()
    assert (beat_seconds(body, taken), beat_seconds(body, b"")) == (30.0, 0.0)


def test_flower_asks_again_for_a_reply_in_a_way_that_can_be_made_quicker(monkeypatch):
    given = inspect.signature(http_grid.pull_objects).parameters
    assert {"initial_backoff", "backoff_cap", "max_time"} <= set(given)
    assert "pull_objects" in http_grid.HttpGrid.pull_messages.__code__.co_names
    monkeypatch.setattr(http_grid, "pull_objects", http_grid.pull_objects)  # put back afterwards
    quick = {"initial_backoff": 0.02, "backoff_cap": 0.5}
    look_often_for_replies(None)
    assert http_grid.pull_objects.keywords == quick
    look_often_for_replies(0.1)
    assert http_grid.pull_objects.keywords == {**quick, "max_time": 0.1}

    def never(object_id: str) -> bytes:
        raise ObjectUnavailableError(object_id)

    with pytest.raises(ObjectPullError, match="timeout"):
        http_grid.pull_objects(["a part that its sender never sent"], never)


def test_a_message_that_was_answered_before_all_of_it_was_sent_ends_no_run(monkeypatch):
    """A device that looks by itself has answered, and the SuperLink has let its message go."""
    assert "make_push_object_fn_protobuf" in http_grid.HttpGrid._try_push_messages.__code__.co_names
    real = http_grid.make_push_object_fn_protobuf
    monkeypatch.setattr(http_grid, "make_push_object_fn_protobuf", real)  # put back afterwards
    let_messages_be_answered_early()
    refused = message_pb2.PushObjectResponse(stored=False)
    push = http_grid.make_push_object_fn_protobuf(
        push_object_protobuf=lambda request: refused, node=None, run_id=1, session_id="s"
    )
    push("ab" * 32, b"Message  0\0")
    with pytest.raises(ObjectPushError):
        push("ab" * 32, b"RecordDict  2\0{}")


def test_the_superlink_takes_its_options(tmp_path):
    folder = FederationFolder.make(tmp_path / "federation")
    folder.save(replace(folder.settings, link_port=8471))
    options = _parse_args_run_superlink().parse_args(command(folder)[1:])
    assert (options.host, options.enable_supernode_auth) == ("127.0.0.1", True)
