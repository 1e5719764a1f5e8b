"""Parts of another package, through the registries: killed and resumed, and with workers, the same bits.

None of them touches a file of Hedgerow's. `ray/test_guests.py` has them on Flower's engine.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load
from torch import nn

import hedgerow as hr
from hedgerow.client.task import Task
from hedgerow.client.trainers import Computing, make_trainer
from hedgerow.models import build as build_model
from hedgerow.recipe.strategy import build, describe
from hedgerow.sealed import unsealed
from hedgerow.server.recording import FOLDER, Recorder
from hedgerow.server.replay import replay
from hedgerow.strategies import decode, encode, parse_pipeline
from hedgerow.types import Client, Layout, LocalTraining, RoundContext, RoundResult
from tests.guests import install
from tests.guests.blobs import blobs
from tests.guests.softmax import Softmax

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux")

CLIENTS, ROUNDS = 7, 5
TASK = Task(build_model("logistic", input_shape=(2,), num_classes=3))
LOCAL = {"epochs": 2, "batch_size": 5, "learning_rate": 0.2}
PLAIN = {"preset": "fedavg", "local": LOCAL}
RESIDUAL = "error_feedback(quantize(4, rounding='nearest'))"
GUESTS = {
    "a transform": {**PLAIN, "pipeline": "natural_compression()"},
    "an aggregate": {**PLAIN, "aggregate": "centered_clipping(0.5)", "weighted": False},
    "an algorithm": {**PLAIN, "preset": "smooth_fedexp", "pipeline": RESIDUAL},
    "a trainer": {**PLAIN, "local": {**LOCAL, "momentum": 0.5}},
    "a personal rule": {**PLAIN, "personal": ["biases()"]},
    "all together": {
        "preset": "smooth_fedexp",
        "options": {"decay": 0.25},
        "pipeline": "chain(clip(2.0), natural_compression())",
        "aggregate": "centered_clipping(0.5)",
        "local": {**LOCAL, "momentum": 0.5},
    },
}


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)


def running(guest: str, **options) -> Iterator[RoundResult]:
    strategy = build({**GUESTS[guest], "sampling": "uniform(5)"})
    trainer = make_trainer("softmax", TASK, Computing())
    return hr.simulate(trainer, blobs(CLIENTS), strategy, rounds=ROUNDS, seed=4, **options)


def run(guest: str, **options) -> list[RoundResult]:
    return list(running(guest, **options))


def run_until_killed(guest: str, folder: Path) -> None:
    """The process of the run ends in the middle of round 3, when its third client trains."""
    clients, fit = count(1), Softmax.fit

    def deadly(*arguments, **options):
        if next(clients) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return fit(*arguments, **options)

    for result in running(guest, folder=folder):
        if result.round == 2:  # earlier it would show in the run's fingerprint
            Softmax.fit = deadly


def states(results: list[RoundResult]) -> list[dict[str, bytes]]:
    """All that the server keeps after each round."""
    found = []
    for result in results:
        state = result.state
        arrays = {"parameters": state.model.parameters, **state.update, **state.streams, **state.aggregate}
        found.append({name: values.tobytes() for name, values in arrays.items()})
    return found


@pytest.mark.parametrize("guest", GUESTS)
def test_a_guest_that_is_killed_in_a_round_goes_on_to_the_same_bits_with_two_workers(guest, tmp_path):
    whole = run(guest)
    assert not any(result.dropped or result.failed for result in whole)

    process = multiprocessing.get_context("fork").Process(target=run_until_killed, args=(guest, tmp_path))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not (tmp_path / "model.safetensors").exists()

    resumed = run(guest, folder=tmp_path, workers=2)
    assert [result.round for result in resumed] == [3, 4, 5]
    assert states(resumed) == states(whole)[2:]
    for one, other in zip(resumed, whole[2:], strict=True):
        assert (one.cohort, one.bytes_up, one.metrics) == (other.cohort, other.bytes_up, other.metrics)


@pytest.mark.parametrize("guest", GUESTS)
def test_a_guest_is_described_as_any_other_part_is(guest):
    made = build({**GUESTS[guest], "sampling": "uniform(5)"})
    assert describe(made) == describe(build(describe(made)))


def test_each_guest_matters_and_keeps_what_it_says_it_keeps(tmp_path):
    last = {guest: run(guest, folder=tmp_path / guest)[-1] for guest in GUESTS}
    models = {result.state.model.parameters.tobytes() for result in last.values()}
    assert len(models) == len(GUESTS)
    both = last["all together"].state
    assert (both.streams["energy"].shape, both.update["rate"].shape) == ((1,), (1,))
    assert both.aggregate["centre"].shape == both.model.parameters.shape == (9,)
    assert both.streams["energy"][0] > 0
    assert both.update["rate"][0] > 1, "the server's step follows from the stream"
    files = (tmp_path / "all together" / "clients").rglob("*.safetensors")
    kept = {name for file in files for name in load(unsealed(file.read_bytes()))}
    assert kept == {"energy/energy", "trainer/velocity"}
    assert last["a personal rule"].state.model.parameters.shape == (6,), "the biases stay where they are"
    files = (tmp_path / "a personal rule" / "clients").rglob("*.safetensors")
    biases = {len(load(unsealed(file.read_bytes()))["layers/parameters"]) for file in files}
    assert biases == {3}, "three biases a client"
    sent = [sum(last[guest].bytes_up.values()) for guest in ("a trainer", "a transform")]
    assert sent[1] < sent[0], "a byte a value is less than four"


def test_a_compressed_guest_is_unbiased():
    step, x = parse_pipeline("natural_compression()"), np.array([0.0, -0.75, 1.0, 3e-9], np.float32)
    layout = Layout.flat(4)
    found = []
    for seed in range(4000):
        context = RoundContext(seed=seed, round=1, sender=Client("a"), layout=layout)
        found.append(decode(step, encode(step, x, {}, context)[0], context))
    # Each is one of two neighbours, a factor of 2 apart: an error of at most a half, 6 standard deviations.
    np.testing.assert_allclose(np.mean(found, axis=0), x, rtol=6 * 0.5 / np.sqrt(4000))
    assert {0.5, 1.0} == {-float(row[1]) for row in found}


def test_a_rule_with_a_state_has_another_one_for_buffers(tmp_path):
    net = lambda: nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))  # noqa: E731
    strategy = build({**GUESTS["an aggregate"], "sampling": "uniform(5)"})

    def after(rounds: int, folder: Path, **options) -> hr.ServerState:
        *_, last = hr.simulate(
            hr.Task(net), blobs(CLIENTS), strategy, rounds=rounds, folder=folder, **options
        )
        assert not last.failed
        return last.state

    whole = after(3, tmp_path / "whole", record=True)
    assert {name: len(values) for name, values in whole.aggregate.items()} == {
        "centre": 35,
        "buffers/centre": 8,
    }
    after(1, tmp_path / "parts")
    parts = after(3, tmp_path / "parts")
    for name, values in whole.aggregate.items():
        assert parts.aggregate[name].tobytes() == values.tobytes(), name
    assert parts.model.buffers.tobytes() == whole.model.buffers.tobytes()
    recorder = Recorder(tmp_path / "whole" / FOLDER, hr.TorchTrainer(hr.Task(net)).layout, 0)
    *_, replayed = replay(recorder, strategy)
    assert replayed.model.buffers.tobytes() == whole.model.buffers.tobytes()


def test_local_training_that_a_guest_does_not_support_is_refused_by_name():
    strategy = hr.fedprox(local=LocalTraining(**LOCAL))
    with pytest.raises(ValueError, match="needs a trainer that supports proximal, and Softmax supports"):
        next(hr.simulate(Softmax(TASK), blobs(), strategy, rounds=1))
