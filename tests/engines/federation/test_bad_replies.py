"""A real coordinator, and one of four devices that answers badly: it is named and set aside."""

import json
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.common.serde import message_to_proto
from flwr.proto.fleet_pb2 import PushMessagesRequest
from flwr.supercore.inflatable.inflatable_object import get_object_tree
from flwr.supercore.inflatable.inflatable_protobuf_utils import make_push_object_fn_protobuf

from hedgerow.client.app import client_app
from hedgerow.experiments.config.recipe import load
from hedgerow.wire import objects
from tests.engines.federation.coordinated import Coordinated, coordinated
from tests.engines.federation.device import Device
from tests.engines.federation.processes import _free_ports
from tests.engines.federation.test_coordinated import CLIENTS

RECIPE = ["rounds=4"]


def spoiled(message: Message, reply: Message) -> Message:
    """Of the second round, values that are no numbers; of the third, a reply to another round."""
    number, content = message.metadata.group_id, RecordDict(dict(reply.content))
    if number == "2":
        values = content["payload"]["values"].numpy() * np.float32(np.nan)
        content["payload"] = ArrayRecord({"values": Array(values)})
    if number == "3":
        content["hedgerow"] = type(content["hedgerow"])({**content["hedgerow"], "round": 1})
    return Message(content, reply_to=message)


class Liar(Device):
    """Sends, in the first round, objects of which no array can be made."""

    def _answer(self, node: int, message: Message) -> Message:
        reply = super()._answer(node, message)
        return spoiled(message, reply) if message.metadata.message_type == "train" else reply

    def _push(self, fleet: Any, node: Any, reply: Message) -> None:
        if (reply.metadata.message_type, reply.metadata.group_id) != ("train", "1"):
            super()._push(fleet, node, reply)
            return
        found: objects.Objects = {}
        array = objects.add(found, "Array", [], b"{")
        record = objects.add(found, "ArrayRecord", [array], json.dumps({"values": array}).encode())
        root = objects.add(found, "RecordDict", [record], json.dumps({"payload": record}).encode())
        tree = get_object_tree(reply)
        sent = message_to_proto(remove_content_from_message(reply))
        sent.metadata.message_id = ""
        sent.ClearField("content")
        top = objects.add(found, "Message", [root], sent.SerializeToString(deterministic=True))
        sent.metadata.message_id = top
        sent.content.SetInParent()
        new = type(tree)
        trees = [new(object_id=array)]
        for each in (record, root, top):
            trees = [new(object_id=each, children=trees)]
        pushed = fleet.PushMessages(
            PushMessagesRequest(
                node=node, messages_list=[sent], message_object_trees=trees, clientapp_runtime_list=[0.0]
            )
        )
        push = make_push_object_fn_protobuf(fleet.PushObject, node, reply.metadata.run_id, pushed.session_id)
        for each in pushed.objects_to_push:
            push(each, found[each])


def join(real: Coordinated, name: str, kind: type[Device]) -> None:
    experiment = load(real.recipe, real.overrides)
    state = real.home / "devices" / name
    app = client_app(
        experiment.task(), experiment.federation, experiment.strategy(), state_folder=state, guard=None
    )
    device = kind(real.invite(name), app, state)
    device.join()
    real.devices.append(device.start())


@pytest.mark.long
def test_it_is_dropped_by_name_for_what_it_sends_and_set_aside_after_three(tmp_path):
    with coordinated(tmp_path, "heart", RECIPE, _free_ports(1)[0]) as real:
        real.start()
        real.wait_until_it_serves()
        for name in CLIENTS:
            join(real, name, Liar if name == CLIENTS[2] else Device)
        real.wait_for_the_end()
        lines = real.run.rounds()
        dropped = [line["dropped"].get(CLIENTS[2], "") for line in lines]
        assert "its reply cannot be read" in dropped[0]
        assert "values are not finite" in dropped[1]
        assert "the reply is for round 1" in dropped[2]
        assert [CLIENTS[2] in line["clients"] for line in lines] == [True, True, True, False]
        assert [line["failed"] for line in lines] == [""] * 4
        assert f"set aside: {CLIENTS[2]}" in real.said
        assert "restarting it" not in real.said
