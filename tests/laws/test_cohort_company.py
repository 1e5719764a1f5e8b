"""Clients trained side by side get the same bits in any company, place and process."""

import dataclasses
import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hedgerow.client.cohort import Choice, CohortTrainer
from hedgerow.client.task import Task
from hedgerow.types import LocalTraining
from tests.laws.cohort_cases import (
    OPTIMIZERS,
    OWN,
    SHIPPED,
    UNCLIPPED,
    corrections_of,
    shipped,
    the_same,
    trainer_of,
)

COMPANY = {
    "sgd": OPTIMIZERS["sgd"],
    "adam": OPTIMIZERS["adam"],
    "clipped samples": LocalTraining(momentum=0.5, clip_samples=0.3),
}


@pytest.mark.parametrize("local", COMPANY.values(), ids=COMPANY)
@pytest.mark.parametrize("name", [*SHIPPED, *OWN])
@settings(max_examples=3, deadline=None, derandomize=True)
@given(
    sizes=st.lists(st.integers(1, 11), min_size=2, max_size=8),
    batch_size=st.sampled_from([0, 1, 4, 10]),
    data=st.data(),
)
def test_company_order_and_place_do_not_change_a_bit(name, local, sizes, batch_size, data):
    trainer, model = trainer_of(name, 5)
    clipped = local.clip_samples if name not in UNCLIPPED else 0.0
    local = dataclasses.replace(local, batch_size=batch_size, clip_samples=clipped)
    clients = {**SHIPPED, **OWN}[name].clients(sizes)
    corrections = corrections_of(trainer, clients) if local.optimizer == "adam" else None
    everyone = dict(trainer.fit_many(model, clients, local, seed=1, round=1, corrections=corrections))
    for some in (data.draw(st.permutations(clients)), data.draw(st.permutations(clients))[:2], clients[:1]):
        for client, fit in trainer.fit_many(model, some, local, seed=1, round=1, corrections=corrections):
            assert the_same(fit, everyone[client])


@pytest.mark.parametrize("name", ["mlp-2nn", "cnn-small"])
def test_the_place_does_not_matter_for_sizes_that_are_no_multiple_of_anything(name):
    # The processor computes whole registers and cache lines; 37 x 13 and 785 x 3 fit into neither.
    shape, options = ((785,), {"hidden": 37}) if name == "mlp-2nn" else ((1, 17, 19), {"hidden": 37})
    case = shipped(name, shape, **options)
    trainer = CohortTrainer(Task(case.factory), mode="batch", batch_clients=7)
    model, clients = trainer.initial(0), case.clients([10] * 9 + [3] * 4 + [1] * 3)
    for local in (
        LocalTraining(),
        LocalTraining(momentum=0.9, clip_gradient=0.1),
        LocalTraining(batch_size=0),
        LocalTraining(clip_samples=0.1),
    ):
        together = dict(trainer.fit_many(model, clients, local, seed=1, round=1))
        for client in clients:
            ((_, alone),) = trainer.fit_many(model, [client], local, seed=1, round=1)
            assert the_same(alone, together[client[0]])


def digest() -> str:
    found = hashlib.sha256()
    for name in ("mlp-2nn", "cnn-small", "transformer"):
        case = {**SHIPPED, **OWN}[name]
        trainer = CohortTrainer(Task(case.factory), choice=Choice("batch", "", batch_clients=3, min_batch=2))
        model, clients = trainer.initial(1), case.clients([7, 13, 1, 22, 8])
        fits = dict(trainer.fit_many(model, clients, OPTIMIZERS["momentum"], seed=1, round=1))
        found.update(b"".join(fits[client].delta.tobytes() for client, _ in clients))
    return found.hexdigest()


PROGRAM = """
import torch
torch.manual_seed(3)
torch.set_num_threads(2)
from tests.laws.test_cohort_company import digest
print(digest())
"""


def test_another_process_gives_the_same_bits():
    command = [sys.executable, "-c", PROGRAM]
    root = Path(__file__).parents[2]
    other = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == digest()


def test_rounds_can_be_left_early_and_run_at_the_same_time():
    trainer, model = trainer_of("mlp-2nn")
    clients = SHIPPED["mlp-2nn"].clients([9, 4, 30, 12, 7])
    arguments = (model, clients, LocalTraining())
    expected = dict(trainer.fit_many(*arguments, seed=1, round=1))
    one, two = (trainer.fit_many(*arguments, seed=1, round=1) for _ in range(2))
    pairs = list(zip(one, two, strict=True))
    assert len(pairs) == 5
    assert all(the_same(fit, expected[name]) for pair in pairs for name, fit in pair)
    next(trainer.fit_many(*arguments, seed=1, round=1))
    assert all(the_same(f, expected[n]) for n, f in trainer.fit_many(*arguments, seed=1, round=1))


def test_results_are_not_views_of_the_trainer_and_its_arguments_are_left_alone():
    trainer, model = trainer_of("norms")
    clients = OWN["norms"].clients([9, 4, 12])
    for array in (model.parameters, model.buffers, *(a for _, d in clients for a in (d.x, d.y))):
        array.flags.writeable = False
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    first = dict(trainer.fit_many(model, clients, LocalTraining(), seed=1, round=1))
    kept = {name: (fit.delta.copy(), fit.buffers.copy()) for name, fit in first.items()}
    for _ in trainer.fit_many(model, clients, LocalTraining(), seed=2, round=1):
        assert torch.get_num_threads() == threads
    assert torch.equal(torch.random.get_rng_state(), state)
    for name, fit in first.items():
        assert np.array_equal(fit.delta, kept[name][0])
        assert np.array_equal(fit.buffers, kept[name][1])
