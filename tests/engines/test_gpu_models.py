"""Every model on a GPU, client by client and side by side: as on the CPU, and twice the same bits."""

import numpy as np
import pytest

from hedgerow.client.task import Task
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.types import LocalTraining
from tests.gpus import CLOSE, alone, apart, bits, needs_gpu, side_by_side
from tests.laws.cohort_cases import OWN, SHIPPED

pytestmark = needs_gpu

CASES = {**SHIPPED, **OWN}
SIZES = (13, 8, 8, 3, 1)


@pytest.mark.parametrize("name", CASES)
def test_every_model_learns_what_it_learns_on_the_cpu_and_twice_the_same_bits(name):
    case, local = CASES[name], LocalTraining(learning_rate=0.05, batch_size=4, epochs=2)
    clients = case.clients(SIZES)
    cpu, gpu = TorchTrainer(Task(case.factory)), TorchTrainer(Task(case.factory), device="cuda")
    start = cpu.initial(2)
    expected = alone(cpu, start, clients, local)
    for fits in (
        lambda: alone(gpu, start, clients, local),
        lambda: side_by_side(case, start, clients, local),
    ):
        first, again = fits(), fits()
        assert {n: apart(first[n], fit) for n, fit in expected.items() if apart(first[n], fit) > CLOSE} == {}
        assert {n: bits(fit) for n, fit in first.items()} == {n: bits(fit) for n, fit in again.items()}
    scores, there = gpu.evaluate(start, clients[0][1]), cpu.evaluate(start, clients[0][1])
    assert scores == pytest.approx(there, rel=1e-4)
    outputs = gpu.outputs(start, clients[0][1].x), cpu.outputs(start, clients[0][1].x)
    np.testing.assert_allclose(*outputs, rtol=0, atol=1e-4)
