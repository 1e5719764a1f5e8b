"""Whole runs on a GPU: the CPU's model to rounding; the same bits again, resumed, masked, and with limits."""

import json
import re
from functools import partial

import numpy as np
import pytest
from torch import nn

import hedgerow as hr
from hedgerow.client.cohort import Choice, CohortTrainer
from tests.api.commands.command import hedgerow
from tests.gpus import needs_gpu

pytestmark = needs_gpu

LOCAL = hr.LocalTraining(learning_rate=0.05, epochs=2, batch_size=4)
MASKED = "chain(clip(5.0), quantize(8, range=1.0), mask())"
STRATEGIES = {
    "fedavg": hr.fedavg,
    "compressed": partial(hr.fedavg, pipeline=hr.parse_pipeline("error_feedback(top_k(0.2), quantize(8))")),
    "scaffold": hr.scaffold,
    "fedprox": partial(hr.fedprox, mu=0.1),
    "feddyn": hr.feddyn,
    "personal": partial(hr.fedavg, personal="norms()"),
}


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.AvgPool2d(2), nn.Dropout(0.2), nn.Flatten(),
        nn.Linear(36, 3),
    )  # fmt: skip


def samples(number: int) -> hr.Samples:
    random = np.random.default_rng(number)
    n = 6 + number % 9
    y = random.integers(3, size=n)
    return hr.Samples((random.normal(size=(n, 1, 8, 8)) + y[:, None, None, None]).astype(np.float32), y)


TASK, CLIENTS = hr.Task(network), hr.from_function(12, samples)


def run(strategy=hr.fedavg, *, rounds=3, cohort=5, task=TASK, **options):
    made = strategy(sampling=hr.uniform(cohort), local=LOCAL)
    results = list(hr.simulate(task, CLIENTS, made, rounds=rounds, seed=4, test=samples(99), **options))
    assert not any(result.dropped or result.failed for result in results)
    return results


def final(results):
    return results[-1].state.model


@pytest.mark.parametrize("trainer", ["loop", "batch"])
@pytest.mark.parametrize("name", STRATEGIES)
def test_a_run_is_the_cpus_to_rounding_and_its_own_bit_for_bit(name, trainer):
    cpu = run(STRATEGIES[name], device="cpu")
    one, two = (run(STRATEGIES[name], device="cuda", trainer=trainer) for _ in range(2))
    # Compression turns a rounding into a step of its grid.
    far = 0.05 if name == "compressed" else 1e-4
    np.testing.assert_allclose(final(one).parameters, final(cpu).parameters, rtol=0, atol=far)
    np.testing.assert_allclose(final(one).buffers, final(cpu).buffers, rtol=0, atol=far)
    assert final(one).parameters.tobytes() == final(two).parameters.tobytes()
    assert one[-1].evaluation == two[-1].evaluation
    assert one[-1].evaluation["loss"] == pytest.approx(cpu[-1].evaluation["loss"], rel=0.05)


@pytest.mark.parametrize("trainer", ["loop", "batch"])
def test_under_masks_a_gpu_gives_the_sum_that_it_gives_in_the_clear(trainer):
    strategy = partial(hr.fedavg, pipeline=hr.parse_pipeline(MASKED), weighted=False)
    clear, masked = (
        run(strategy, cohort=11, device="cuda", trainer=trainer, masks=masks) for masks in (False, True)
    )
    assert final(clear).parameters.tobytes() == final(masked).parameters.tobytes()
    assert masked[0].secure != clear[0].secure


@pytest.mark.parametrize("trainer", ["loop", "batch", "auto"])
def test_a_resumed_run_is_the_undisturbed_one_bit_for_bit_and_stays_on_its_device(trainer, tmp_path):
    there = {"folder": tmp_path / "run", "trainer": trainer}
    run(STRATEGIES["compressed"], rounds=2, device="cuda", **there)
    rest = run(STRATEGIES["compressed"], rounds=4, device="cuda", **there)
    whole, task = {"trainer": trainer, "device": "cuda"}, TASK
    if trainer == "auto":  # what it has chosen depends on the time
        choice = Choice.from_json(json.loads((tmp_path / "run" / "trainer.json").read_text()))
        assert choice.device == "cuda:0"
        whole, task = {}, CohortTrainer(TASK, choice=choice)
    undisturbed = run(STRATEGIES["compressed"], task=task, rounds=4, **whole)
    assert final(rest).parameters.tobytes() == final(undisturbed).parameters.tobytes()
    with pytest.raises(ValueError, match="device"):
        run(STRATEGIES["compressed"], rounds=5, device="cpu", **there)


@pytest.mark.parametrize("trainer", ["batch", "auto"])
def test_without_a_device_one_process_takes_the_gpu_and_says_so(trainer, caplog):
    with caplog.at_level("INFO", logger="hedgerow"):
        run(trainer=trainer, rounds=1)
    assert "clients are trained on cuda" in caplog.text


@pytest.mark.parametrize("trainer", ["loop", "batch"])
def test_several_processes_do_not_share_a_gpu(trainer):
    with pytest.raises(ValueError, match=re.escape("a GPU belongs to one process: take workers=1")):
        run(trainer=trainer, device="cuda", workers=2)


@pytest.mark.parametrize("trainer", ["loop", "batch"])
def test_in_a_process_with_limits_it_is_the_same_run(trainer):
    here, there = (run(trainer=trainer, device="cuda", **limits) for limits in ({}, {"client_timeout": 120}))
    assert final(here).parameters.tobytes() == final(there).parameters.tobytes()


def test_a_recipe_runs_on_a_gpu_in_sixteen_bits_from_the_command_line(tmp_path):
    arguments = ["rounds=2", "--device", "cuda", "--precision", "bfloat16", "--out", str(tmp_path / "run")]
    found = hedgerow("run", "watch", *arguments)
    assert found.exit_code == 0, found.output
    identity = json.loads((tmp_path / "run" / "fingerprint.json").read_text())
    assert '"cuda:0"' in json.dumps(identity)
    assert '"bfloat16"' in json.dumps(identity)
