"""The model follows, bit for bit, from who counted in each round, and with what."""

import zipfile
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import pytest
from safetensors.numpy import load

from hedgerow.experiments.runs.simulate import simulate
from hedgerow.sealed import unsealed
from hedgerow.server.checkpoint import load_model
from hedgerow.server.private import RELEASED
from hedgerow.server.recording import Recorder, RecordingError
from hedgerow.server.replay import replay
from hedgerow.strategies import (
    cyclic,
    dp_fedavg,
    dp_ftrl,
    fedavg,
    fedavgm,
    feddyn,
    fednova,
    parse_aggregate,
    parse_pipeline,
    poisson,
    scaffold,
    secure_fedavg,
    uniform,
)
from hedgerow.types import LocalTraining
from tests.support import LAYOUT, MeanTrainer, clients

LOCAL = LocalTraining(learning_rate=0.1, epochs=2)
SIX = {"sampling": uniform(6), "local": LOCAL}
STATEFUL = "chain(weight_by_examples(), error_feedback(top_k(0.2), quantize(8)))"


@dataclass(frozen=True)
class Corrected(MeanTrainer):
    """Takes a correction, and cannot train on samples whose number is a multiple of 9."""

    supports = frozenset({"correction", "proximal"})

    def fit(self, model, data, local, *, correction=None, **options):
        if len(data) % 9 == 0:
            raise ValueError("it does not train")
        fit = super().fit(model, data, local, **options)
        if correction is not None:
            fit.delta[:] -= np.float32(local.learning_rate * local.epochs) * correction
        return fit


STRATEGIES = {
    "carried along": fedavgm(**SIX, pipeline=parse_pipeline(STATEFUL)),
    "chosen values": fedavg(**SIX, pipeline=parse_pipeline("chain(random_k(0.3), quantize(4))")),
    "median": fedavg(**SIX, aggregate=parse_aggregate("median()"), weighted=False),
    "krum": fedavg(**SIX, aggregate=parse_aggregate("krum(0.2)"), weighted=False),
    "geometric median": fedavg(**SIX, aggregate=parse_aggregate("geometric_median()"), weighted=False),
    "bounded": fedavg(**SIX, max_norm=3.0),
    "scaffold": scaffold(**SIX),
    "fednova": fednova(**SIX),
    "feddyn": feddyn(**SIX),
    "too few": fedavg(sampling=uniform(2), local=LOCAL, quorum=1.0),
    "masked": secure_fedavg(1.0, **{**SIX, "sampling": uniform(11)}),
    "private": dp_fedavg(
        0.5, 1.0, clip_quantile=0.5, delta=1e-3, server_momentum=0.5,
        sampling=poisson(4, population=12), local=LOCAL,
    ),
}  # fmt: skip


def run(strategy, folder, rounds=4, **options):
    options = {"record": True, **options}
    return simulate(Corrected(), clients(12), strategy, rounds=rounds, folder=folder, **options)


def replayed(strategy, folder):
    return list(replay(Recorder(folder / "replies", LAYOUT, 0), strategy))


def recorded(folder):
    return {file.name: file.read_bytes() for file in sorted((folder / "replies").glob("*.zip"))}


def check(strategy, folder, rounds=4):
    """The replayed model is the run's, and that is not the one it began with."""
    states, model = replayed(strategy, folder), load_model(folder, LAYOUT)
    assert [state.round for state in states] == list(range(rounds + 1))
    assert states[-1].model.parameters.tobytes() == model.parameters.tobytes()
    return states


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_model_of_each_round_is_had_again(name, tmp_path):
    strategy, rounds = STRATEGIES[name], 2 if name == "private" else 4
    models = [r.state.model.parameters.tobytes() for r in run(strategy, tmp_path / "run", rounds)]
    states = check(strategy, tmp_path / "run", rounds)
    assert [state.model.parameters.tobytes() for state in states[1:]] == models
    assert len(set(models)) > 1


def test_the_sum_of_the_whole_protocol_is_had_again(tmp_path):
    strategy = STRATEGIES["masked"]
    results = list(run(strategy, tmp_path / "run", rounds=1, masks=True))
    assert [result.secure for result in results] == ["masked"]
    assert not results[-1].failed
    check(strategy, tmp_path / "run", rounds=1)


@pytest.mark.parametrize("name", ["carried along", "scaffold", "masked"])
def test_what_is_recorded_is_the_same_with_one_worker_and_with_two(name, tmp_path):
    for workers in (1, 2):
        list(run(STRATEGIES[name], tmp_path / str(workers), workers=workers))
    assert recorded(tmp_path / "1") == recorded(tmp_path / "2")


class Killed(BaseException):
    """The process is gone before the round was saved."""


@pytest.mark.parametrize("name", ["carried along", "scaffold", "krum"])
def test_a_round_that_is_run_again_takes_the_place_of_what_was_recorded_of_it(name, tmp_path):
    strategy = STRATEGIES[name]
    list(run(strategy, tmp_path / "whole"))
    for last in (2, 3):
        results = run(strategy, tmp_path / "killed")
        for result in results:
            if result.round == last:
                with pytest.raises(Killed):
                    results.throw(Killed())
                break
    list(run(strategy, tmp_path / "killed"))
    assert recorded(tmp_path / "killed") == recorded(tmp_path / "whole")
    check(strategy, tmp_path / "killed")


def test_recording_that_is_begun_later_begins_with_the_state_that_is_there(tmp_path, caplog):
    strategy, folder = STRATEGIES["scaffold"], tmp_path / "run"
    for result in run(strategy, folder, record=False):
        if result.round == 2:
            break
    list(run(strategy, folder))
    states = replayed(strategy, folder)
    assert [state.round for state in states] == [2, 3, 4]
    assert states[-1].model.parameters.tobytes() == load_model(folder, LAYOUT).parameters.tobytes()
    assert "not every round" not in caplog.text


def test_rounds_without_recording_are_told_and_the_recording_begins_anew(tmp_path, caplog):
    strategy, folder = STRATEGIES["bounded"], tmp_path / "run"
    for record, last in ((True, 1), (False, 2), (True, 4)):
        for result in run(strategy, folder, record=record):
            if result.round == last:
                break
    assert "not every round up to 2 was recorded: the recording starts again after it" in caplog.text
    assert [state.round for state in replayed(strategy, folder)] == [2, 3, 4]


def members(data):
    with zipfile.ZipFile(BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_of_a_masked_round_nothing_but_the_sum_is_recorded(tmp_path):
    list(run(STRATEGIES["masked"], tmp_path / "run"))
    for data in recorded(tmp_path / "run").values():
        assert set(members(data)) == {"round.json", "sum.safetensors"}


def test_of_a_private_round_nothing_but_what_was_released_is_recorded(tmp_path):
    banded = dp_ftrl(0.5, 1.0, bands=3, delta=1e-3, sampling=cyclic(4, population=12), local=LOCAL)
    results = list(run(banded, tmp_path / "run", rounds=3))
    assert results[-1].state.private["noise"].any()
    for data, before, after in zip(
        recorded(tmp_path / "run").values(), [None, *results], results, strict=False
    ):
        found = members(data)
        assert set(found) == {"round.json", "sum.safetensors"}
        arrays = load(found["sum.safetensors"])
        assert set(arrays) == {RELEASED}
        if before is not None:  # what was released is in the models already
            moved = before.state.model.parameters + arrays[RELEASED]
            np.testing.assert_array_equal(moved, after.state.model.parameters)
    started = next((tmp_path / "run" / "replies" / "start").glob("*.safetensors")).read_bytes()
    assert set(load(unsealed(started))) == {"parameters", "buffers"}
    check(banded, tmp_path / "run", rounds=3)


def test_a_recording_that_is_not_whole_is_refused_by_name(tmp_path):
    strategy, folder = STRATEGIES["bounded"], tmp_path / "run"
    list(run(strategy, folder))
    file = folder / "replies" / "round-000002.zip"
    whole = file.read_bytes()
    file.write_bytes(whole[:-30])
    with pytest.raises(RecordingError, match=r"round-000002\.zip cannot be read"):
        replayed(strategy, folder)
    file.unlink()
    with pytest.raises(RecordingError, match=r"round 2 of .* was not recorded, but round 3 was"):
        replayed(strategy, folder)
    file.write_bytes(whole)
    other = fedavg(**SIX, pipeline=parse_pipeline("quantize(8)"))
    with pytest.raises(RecordingError, match="the run had another strategy"):
        replayed(other, folder)
    with pytest.raises(RecordingError, match=r"was not recorded; run it with --record"):
        replayed(strategy, tmp_path / "nothing")


def test_a_round_that_cannot_be_recorded_is_told_and_the_run_goes_on(tmp_path, caplog):
    strategy, folder = STRATEGIES["bounded"], tmp_path / "run"
    results = run(strategy, folder)
    next(results)
    (folder / "replies" / "round-000002.zip").mkdir()
    assert [result.round for result in results] == [2, 3, 4]
    assert "round 2 is not recorded" in caplog.text


def test_there_must_be_a_folder_to_record_in():
    with pytest.raises(ValueError, match="record is True, but there is no folder"):
        next(run(STRATEGIES["bounded"], None))
