"""Another version or another model is named and refused, with what to do; one minor version apart is not."""

import json
from importlib.metadata import version

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import Error, Message

import hedgerow as hr
from hedgerow.client.app import client_app
from hedgerow.client.discretion import discreet
from hedgerow.coordinator.folder import FederationFolder
from hedgerow.coordinator.members import JoinRefused, invite, join
from hedgerow.coordinator.status import told
from hedgerow.experiments.cli.round_lines import RoundLines
from hedgerow.experiments.runs.store import RunFolder
from hedgerow.node.errors import OtherModel, OtherVersion
from hedgerow.node.responder import reason_of
from hedgerow.secure.errors import Refused
from hedgerow.server.app import train
from hedgerow.server.refusals import refusals_of
from hedgerow.simulation.clients import FIRST_NODE_ID
from hedgerow.simulation.flower import task_identity
from hedgerow.simulation.grid import InProcessGrid
from tests.attacks.gateways import public
from tests.faults.slow_grid import SlowGrid
from tests.support import LAYOUT, MeanTrainer, clients

DATA = clients(4)
OTHER = DATA.names[2]


def told_of(kind):
    """What a device sends of a refusal."""
    with pytest.raises(Refused) as refused, discreet():
        raise kind
    return reason_of(refused.value)


def run(refuses, error, folder=None, rounds=2):
    """A run in which one device answers some kinds of message with an error; without names from the grid."""
    strategy, trainer = hr.fedavg(), MeanTrainer()
    app = client_app(trainer, DATA, strategy, guard=None)

    def node(message, context):
        name = DATA.names[int(context.node_config["partition-id"])]
        if name == OTHER and message.metadata.message_type in refuses:
            return Message(Error(2, told_of(error)), reply_to=message)
        return app(message, context)

    joined = {FIRST_NODE_ID + place: name for place, name in enumerate(DATA.names)}
    inner = InProcessGrid(node, len(DATA.names), names=DATA.names)
    with task_identity(1), inner.running():
        grid = SlowGrid(inner, DATA.names, None)
        return list(
            train(
                grid, strategy, trainer.initial(0), LAYOUT,
                num_rounds=rounds, folder=folder, min_clients=3, joined=lambda: joined,
            )
        )  # fmt: skip


def test_another_version_takes_no_part_and_the_operator_is_told_by_name(tmp_path, capsys):
    results = run(("query",), OtherVersion, tmp_path)
    assert [OTHER in result.cohort for result in results] == [False, False]
    assert list(refusals_of(tmp_path)) == [OTHER]
    assert "OtherVersion" in refusals_of(tmp_path)[OTHER]
    assert "install the server's" in refusals_of(tmp_path)[OTHER]
    status = {
        "register": {"trust": "first-use"}, "processes": {}, "runs": True, "federation": "f", "address": "a",
        "run": None, "gathering": "", "devices": [], "promoted": None, "refusals": refusals_of(tmp_path),
        "phones": {"places": 0},
    }  # fmt: skip
    assert any(line.startswith(f"{OTHER} takes no part: it failed: OtherVersion") for line in told(status))
    (tmp_path / "config.toml").write_text("rounds = 2\n")
    RoundLines(RunFolder(tmp_path))()
    assert f"{OTHER} takes no part" in capsys.readouterr().err
    run((), OtherVersion, tmp_path, rounds=3)  # it has been installed anew
    assert refusals_of(tmp_path) == {}


def test_another_model_is_dropped_by_name_in_the_first_round_with_what_to_do():
    results = run(("train",), OtherModel, rounds=1)
    assert list(results[0].dropped) == [OTHER]
    assert "OtherModel" in results[0].dropped[OTHER]
    assert "install its versions" in results[0].dropped[OTHER]


KEY = public(ec.generate_private_key(ec.SECP384R1()))
MAJOR, MINOR = (int(number) for number in version("hedgerow").split(".")[:2])


@pytest.mark.parametrize(
    ("theirs", "well"),
    [
        (f"{MAJOR}.{MINOR}.9", True), (f"{MAJOR}.{MINOR + 1}.0", True), ("0.0.9", True),
        (f"{MAJOR}.{MINOR + 2}.0", False), ("1.0.0", False), ("", False), ("0", False), (None, False),
        ("0.1\x1b[2J" * 999, False),
    ],
)  # fmt: skip
def test_a_device_of_another_version_joins_or_is_told_which_one_to_install(tmp_path, theirs, well):
    folder = FederationFolder.make(tmp_path / "federation")
    token = json.loads(invite(folder, "shed", tmp_path).read_text())["token"]
    request = {"hedgerow": theirs, "name": "shed", "token": token, "node_key": KEY, "identity": None}
    if well:
        assert join(folder, request, lambda key, name: 7)[1].node_id == 7
        return
    with pytest.raises(JoinRefused, match=rf"pip install hedgerow=={version('hedgerow')}") as refused:
        join(folder, request, lambda key, name: 7)
    assert refused.value.status == 400
