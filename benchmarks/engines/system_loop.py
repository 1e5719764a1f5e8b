"""A plain torch loop, in this process or in two: what one would write without any framework."""

import multiprocessing as mp
from multiprocessing.connection import Connection

import measure
import torch
import workload as w
from torch import Tensor, nn


class Trainer:
    """One model that stands for each client in turn."""

    def __init__(self, workload: w.Workload, seed: int) -> None:
        torch.set_num_threads(1)
        torch.manual_seed(seed)
        self._clients = w.Clients(workload)
        self._model = w.make_model(workload)

    def add_all(self, clients: list[int], start: Tensor, total: Tensor) -> None:
        """Put the sum of the clients' parameters, weighted by their samples, into `total`."""
        total.zero_()
        for client in clients:
            total.add_(self._train(client, start), alpha=self._clients.size(client))

    def _train(self, client: int, start: Tensor) -> Tensor:
        model = self._model
        nn.utils.vector_to_parameters(start.clone(), model.parameters())
        optimizer = torch.optim.SGD(model.parameters(), lr=w.LEARNING_RATE)
        x, y = self._clients.tensors(client)
        for _ in range(w.EPOCHS):
            for index in torch.randperm(len(y)).split(w.BATCH):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x[index]), y[index]).backward()
                optimizer.step()
        return nn.utils.parameters_to_vector(model.parameters()).detach()


def work(workload: w.Workload, seed: int, pipe: Connection, start: Tensor, total: Tensor) -> None:
    """The other process: clients come in, and their sum is left in shared memory."""
    trainer = Trainer(workload, seed)
    while clients := pipe.recv():
        trainer.add_all(clients, start, total)
        pipe.send(True)


def shared_out(clients: list[int], size: dict[int, int], parts: int) -> list[list[int]]:
    """The clients in parts of about equally many samples, largest first."""
    shares: list[list[int]] = [[] for _ in range(parts)]
    loads = [0] * parts
    for client in sorted(clients, key=lambda c: size[c], reverse=True):
        least = loads.index(min(loads))
        shares[least].append(client)
        loads[least] += size[client]
    return shares


def main() -> None:
    """Run the rounds."""
    given = measure.arguments()
    recorder = measure.Recorder("loop", (), given)
    workload = w.WORKLOADS[given.workload]
    clients = w.Clients(workload)
    start = torch.from_numpy(w.flat(w.make_model(workload))).share_memory_()
    totals = [torch.zeros_like(start).share_memory_() for _ in range(given.processes)]
    others = []
    for number, total in enumerate(totals[1:], 1):
        here, there = mp.Pipe()
        arguments = (workload, w.SEED + number, there, start, total)
        process = mp.get_context("fork").Process(target=work, args=arguments, daemon=True)
        process.start()
        others.append((process, here))
    trainer = Trainer(workload, w.SEED)
    for number in range(1, given.rounds + 1):
        size = {client: clients.size(client) for client in clients.cohort(number)}
        mine, *theirs = shared_out(list(size), size, given.processes)
        for (_, pipe), share in zip(others, theirs, strict=True):
            pipe.send(share)
        trainer.add_all(mine, start, totals[0])
        for _, pipe in others:
            pipe.recv()
        start.copy_(sum(totals) / sum(size.values()))
        recorder.end_round(lambda: start.numpy().copy())
    recorder.finish()
    for process, pipe in others:
        pipe.send([])
        process.join()


if __name__ == "__main__":
    main()
