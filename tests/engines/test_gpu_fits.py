"""Clients trained on a GPU, alone and side by side: as on the CPU, and with the same bits each time."""

import logging

import pytest
import torch
from torch import nn

from hedgerow.client.cohort import Choice, CohortTrainer
from hedgerow.client.task import Task, accuracy
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.types import LocalTraining, Samples
from tests.gpus import CLOSE, WHERE, alone, apart, bits, needs_gpu, side_by_side
from tests.laws.cohort_cases import CLASSES, OPTIMIZERS, OWN, SHIPPED, UNCLIPPED, corrections_of

pytestmark = needs_gpu

CASES = {**SHIPPED, **OWN}
SIZES = (13, 8, 8, 3, 1)
WAYS = {
    **OPTIMIZERS,
    "fedprox": LocalTraining(learning_rate=0.05, proximal=0.3, weight_decay=0.01),
    "clipped": LocalTraining(learning_rate=0.05, clip_gradient=0.4),
    "clipped samples": LocalTraining(learning_rate=0.05, clip_samples=0.4),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["cnn-small", "gru-char", "transformer", "dropout", "norms"])
def test_every_way_of_training_is_that_of_the_cpu(name, way):
    case, local = CASES[name], WAYS[way]
    if way == "clipped samples" and name in UNCLIPPED:
        pytest.skip("this model has no gradient of one sample")
    clients = case.clients(SIZES)
    cpu, gpu = TorchTrainer(Task(case.factory)), TorchTrainer(Task(case.factory), device="cuda")
    start, corrections = cpu.initial(2), corrections_of(cpu, clients)
    expected = alone(cpu, start, clients, local, corrections)
    for found in (
        alone(gpu, start, clients, local, corrections),
        side_by_side(case, start, clients, local, corrections),
    ):
        assert {n: apart(found[n], fit) for n, fit in expected.items() if apart(found[n], fit) > CLOSE} == {}


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["mlp-2nn", "cnn-small", "gru-char", "transformer", "norms"])
def test_sixteen_bits_are_near_and_twice_the_same(name, precision):
    case, local = CASES[name], LocalTraining(learning_rate=0.05, batch_size=4)
    clients = case.clients((24,))
    full = TorchTrainer(Task(case.factory), device="cuda")
    short = TorchTrainer(Task(case.factory), device="cuda", precision=precision)
    start = full.initial(2)
    (exact,), (rounded,), (again,) = (
        alone(trainer, start, clients, local).values() for trainer in (full, short, short)
    )
    assert 0 < apart(rounded, exact) < 0.1
    assert bits(rounded) == bits(again)


def test_torchs_settings_and_the_callers_generators_are_left_as_they_were():
    case = CASES["dropout"]
    clients, trainer = case.clients((8,)), TorchTrainer(Task(case.factory), device="cuda")

    def state():
        cudnn = torch.backends.cudnn
        return (
            cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark,
            torch.are_deterministic_algorithms_enabled(), torch.cuda.get_rng_state().tolist(),
        )  # fmt: skip

    torch.rand(3, device="cuda")
    before = state()
    alone(trainer, trainer.initial(2), clients, LocalTraining())
    with pytest.raises(ValueError, match="metric 'wrong'"):
        TorchTrainer(
            Task(case.factory, metrics={"wrong": lambda o, y: o}), device="cuda"
        ).evaluate(trainer.initial(2), clients[0][1])  # fmt: skip
    assert state() == before


class Drawing(nn.Module):
    """Draws from torch's own generator on the GPU, which all clients of a batch would share."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(7, CLASSES)

    def forward(self, x):
        return self.linear(x + 0.1 * torch.randn(7, device=self.linear.weight.device))


def test_a_model_that_draws_on_the_gpu_is_trained_in_a_loop_with_draws_of_each_client(caplog):
    clients = CASES["mlp-2nn"].clients((8, 8, 8))
    trainer = CohortTrainer(Task(Drawing), choice=Choice("batch", "", 3, 2, device="cuda"))
    start = trainer.initial(2)
    with caplog.at_level(logging.WARNING):
        found = dict(trainer.fit_many(start, clients, LocalTraining(), **WHERE))
    assert "draws from a global generator" in caplog.text
    again = alone(TorchTrainer(Task(Drawing), device="cuda"), start, clients[::-1], LocalTraining())
    assert {n: bits(fit) for n, fit in found.items()} == {n: bits(fit) for n, fit in again.items()}


@pytest.mark.parametrize("mode", ["loop", "batch"])
def test_what_is_out_of_bounds_is_an_error_of_its_client_and_the_gpu_goes_on(mode):
    case = CASES["gru-char"]
    clients = case.clients((8, 8, 8, 8))
    x, y = clients[1][1].x.copy(), clients[2][1].y.copy()
    x[3, 2], y[5] = CLASSES + 70, CLASSES + 2
    clients[1] = "index", Samples(x, clients[1][1].y)
    clients[2] = "class", Samples(clients[2][1].x, y)
    trainer = CohortTrainer(Task(case.factory), mode=mode, batch_clients=4, device="cuda")
    start = trainer.initial(2)
    found = dict(trainer.fit_many(start, clients, LocalTraining(), **WHERE))
    for name in ("index", "class"):
        assert "out of bounds; why is in this client's own log" in str(found[name].error)
    usual = alone(TorchTrainer(Task(case.factory)), start, [clients[0], clients[3]], LocalTraining())
    assert max(apart(found[name], fit) for name, fit in usual.items()) < CLOSE


def test_a_loss_and_a_metric_with_weights_compute_where_the_model_is():
    weights = torch.linspace(0.5, 2, CLASSES)
    metric = nn.CrossEntropyLoss(weights, reduction="none")
    task = Task(CASES["mlp-2nn"].factory, nn.CrossEntropyLoss(weights), {"each": metric, "right": accuracy})
    clients = CASES["mlp-2nn"].clients(SIZES)
    cpu, gpu = TorchTrainer(task), CohortTrainer(task, mode="batch", batch_clients=3, device="cuda")
    start = cpu.initial(2)
    found = dict(gpu.fit_many(start, clients, LocalTraining(), **WHERE))
    expected = alone(cpu, start, clients, LocalTraining())
    assert max(apart(found[name], fit) for name, fit in expected.items()) < CLOSE
    assert gpu.evaluate(start, clients[0][1]) == pytest.approx(cpu.evaluate(start, clients[0][1]), rel=1e-4)
    assert weights.device.type == "cpu"


def test_a_gpu_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(ValueError, match=r"device is 'cuda:99'; torch finds 'cpu', 'cuda:0'"):
        TorchTrainer(Task(CASES["a layer"].factory), device="cuda:99")
    assert TorchTrainer(Task(CASES["a layer"].factory), device="cuda:0").device == "cuda:0"
