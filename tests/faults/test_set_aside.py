"""A client of which several replies in a row are bad is asked no more, until an operator readmits it."""

import json

import numpy as np
import pytest
from flwr.app import Message, RecordDict

import hedgerow as hr
from hedgerow.client.app import client_app
from hedgerow.coordinator.folder import FederationFolder
from hedgerow.experiments.cli.round_lines import round_line
from hedgerow.experiments.runs.store import line_of
from hedgerow.server.app import train
from hedgerow.server.recording import Recorder
from hedgerow.server.replay import replay
from hedgerow.server.replies import NO_REPLY
from hedgerow.server.set_aside import FILE, after, forgive
from hedgerow.simulation.grid import InProcessGrid
from hedgerow.strategies import dp_fedavg, poisson
from tests.api.test_federation_commands import hedgerow
from tests.attacks.gateways import joined
from tests.support import LAYOUT, MeanTrainer, clients

DATA = clients(5)
BAD = DATA.names[1]


def run(folder=None, number=6, bad=lambda round: True, strategy=None, **options):
    """A run in which a client's replies have no payload in some rounds."""
    strategy, trainer = strategy or hr.fedavg(), MeanTrainer()
    app = client_app(trainer, DATA, strategy)

    def node(message, context):
        reply = app(message, context)
        name = DATA.names[int(context.node_config["partition-id"])]
        if name != BAD or not message.metadata.group_id or not bad(int(message.metadata.group_id)):
            return reply
        content = RecordDict({key: record for key, record in reply.content.items() if key != "payload"})
        return Message(content, reply_to=message)

    with InProcessGrid(node, len(DATA.names), names=DATA.names) as grid:
        return list(
            train(
                grid, strategy, trainer.initial(0), LAYOUT,
                num_rounds=number, folder=folder, min_clients=len(DATA.names), **options,
            )
        )  # fmt: skip


def asked(results):
    return [BAD in result.cohort for result in results]


def test_after_three_bad_replies_in_a_row_it_is_asked_no_more_and_the_operator_is_told(caplog):
    results = run()
    assert asked(results) == [True, True, True, False, False, False]
    assert [result.set_aside for result in results] == [(), (), *[(BAD,)] * 4]
    told = [record.getMessage() for record in caplog.records if "is set aside" in record.getMessage()]
    assert len(told) == 1
    assert told[0].startswith(
        f"client {BAD} is set aside, and not asked any more, after 3 bad replies in a row"
    )
    lines = [round_line(line_of(result), 6) for result in results]
    assert [f"set aside: {BAD}" in line for line in lines] == [False, False, True, False, False, False]


def test_under_the_quorum_a_round_fails_by_name_and_the_model_stays(tmp_path):
    results = run(tmp_path, number=3, quorum=5, record=True)
    assert [result.failed for result in results] == ["4 of 5 clients count; quorum is 5"] * 3
    first = MeanTrainer().initial(0).parameters
    assert results[-1].state.model.parameters.tobytes() == first.tobytes()
    *_, last = replay(Recorder(tmp_path / "replies", LAYOUT, 0), hr.fedavg())
    assert last.model.parameters.tobytes() == first.tobytes()
    assert run(number=1, quorum=4)[0].failed == ""


@pytest.mark.parametrize(
    ("strategy", "quorum", "says"),
    [
        (hr.secure_fedavg(), 3, "7 of 10 must remain for a sum"),
        (hr.dp_fedavg(sampling=hr.poisson(2, population=5)), 2, "a quorum would reveal how many"),
    ],
)
def test_a_quorum_that_contradicts_what_protects_the_updates_is_refused_before_anything_runs(
    strategy, quorum, says
):
    trainer = MeanTrainer()
    with InProcessGrid(lambda message, context: message, 5, names=DATA.names) as grid:
        results = train(grid, strategy, trainer.initial(0), LAYOUT, num_rounds=1, quorum=quorum)
        with pytest.raises(ValueError, match=says):
            next(results)


def test_one_good_reply_and_the_count_begins_anew():
    results = run(number=7, bad=lambda round: round not in (3,))
    assert asked(results) == [True] * 6 + [False]
    assert all(asked(run(number=6, bad=lambda round: round % 3 != 0)))


@pytest.mark.parametrize(("limit", "rounds"), [(0, 6), (1, 1), (2, 2)])
def test_how_many_it_takes_is_chosen(limit, rounds):
    assert asked(run(set_aside=limit)) == [True] * rounds + [False] * (6 - rounds)


def test_beside_noise_nobody_is_left_out_for_what_was_answered():
    private = dp_fedavg(0.5, 1.0, 1e-5, sampling=poisson(5, population=5))
    results = run(strategy=private, set_aside=1)
    assert asked(results) == [True] * 6
    assert {result.set_aside for result in results} == {()}
    assert not results[-1].state.strikes


def test_a_run_that_is_gone_on_with_knows_who_is_set_aside(tmp_path):
    whole = run(tmp_path / "whole")
    run(tmp_path / "parts", number=2)
    later = run(tmp_path / "parts")
    assert asked(later) == [True, False, False, False]
    assert later[-1].state.model.parameters.tobytes() == whole[-1].state.model.parameters.tobytes()


def test_who_is_readmitted_is_asked_again_and_has_as_many_chances_as_before(tmp_path):
    run(tmp_path, number=4)
    forgive(tmp_path, [BAD], 4)
    results = run(tmp_path, number=9)
    assert asked(results) == [True, True, True, False, False]
    forgive(tmp_path, [BAD], 9)
    assert asked(run(tmp_path, number=12, bad=lambda round: False)) == [True] * 3


def test_a_file_of_readmissions_that_cannot_be_read_ends_no_run(tmp_path, caplog):
    run(tmp_path, number=4)
    (tmp_path / FILE).write_text("nonsense")
    assert asked(run(tmp_path)) == [False, False]
    assert "nobody is readmitted" in caplog.text


def test_silence_is_no_bad_reply_and_a_text_that_claims_it_is():
    names = ("a", "b", "c")
    silent = {"a": NO_REPLY, "b": f"it failed: {NO_REPLY}"}
    assert after({}, names, silent, 1, 3) == {"b": (1,)}


def test_who_is_set_aside_is_shown_to_the_operator_and_comes_back_by_a_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = FederationFolder.make(tmp_path / "federation")
    joined(folder, "shed", tmp_path)
    run_folder = tmp_path / "run"
    run_folder.mkdir()
    folder.write("job.json", {"run": str(run_folder), "wanted": 1, "rounds": 9})
    line = {"round": 4, "set_aside": ["shed"]}
    (run_folder / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    assert "shed" in hedgerow("devices")
    assert "set aside" in hedgerow("devices")
    assert "set aside after bad replies: shed" in hedgerow("status")
    assert [row["set_aside"] for row in json.loads(hedgerow("devices", "--json"))] == [True]
    assert "these are: shed" in hedgerow("devices", "--readmit", "shead", code=2)
    assert "takes part again" in hedgerow("devices", "--readmit", "shed")
    assert json.loads((run_folder / FILE).read_text()) == {"shed": 4}
    assert "set aside" not in hedgerow("devices")
    assert "none is" in hedgerow("devices", "--readmit", "shed", code=2)


def test_where_everybody_is_set_aside_rounds_fail_by_name():
    data = type(DATA)({name: DATA.samples(name) for name in DATA.names[:1]})
    strategy, trainer = hr.fedavg(), MeanTrainer()
    app = client_app(trainer, data, strategy)

    def node(message, context):
        reply = app(message, context)
        if int(message.metadata.group_id or 0) < 2:
            return reply
        return Message(RecordDict(), reply_to=message)

    with InProcessGrid(node, 1, names=data.names) as grid:
        results = list(train(grid, strategy, trainer.initial(0), LAYOUT, num_rounds=3, set_aside=1))
    assert [result.failed for result in results][2] == "every client is set aside"
    assert np.array_equal(results[0].state.model.parameters, results[2].state.model.parameters)
