"""What a round of the MLP takes at least, in CPU seconds of one core: why some targets are out of reach.

    .envs/hedgerow/bin/python floor.py        # in this folder; prints JSON, which run.py puts on the page

Two parts are measured alone, without the training around them: the matrix
products of the first layer that any way of training needs, at this machine's
speed; and what is promised for each reply: it is measured, checked, and added
to a sum that does not depend on order.
"""

import json
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
import workload as w
from torch import nn

import hedgerow as hr
from hedgerow import records
from hedgerow.server.collect import StartCollector
from hedgerow.strategies.coding import encode
from hedgerow.types import Layout, RoundContext
from hedgerow.types import Tensor as Slot

ROUNDS = 15


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    workload = w.WORKLOADS["mlp"]
    clients, model = w.Clients(workload), w.make_model(workload)
    layout = Layout(tuple(Slot(n, tuple(p.shape)) for n, p in model.named_parameters()))
    found = {
        "products": _cpu_seconds(lambda: _products(clients, model)),
        "replies": _cpu_seconds(lambda: _replies(layout)),
    }
    print(json.dumps(found))


def _cpu_seconds(work: Callable[[], None]) -> float:
    taken = []
    for _ in range(ROUNDS):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return round(median(taken), 4)


def _products(clients: w.Clients, model: nn.Module) -> None:
    """Each client's samples with the first weights, with each other, and with the changes to the outputs."""
    weight = next(p for p in model.parameters() if p.dim() == 2).detach()
    change = torch.randn(w.SAMPLES, len(weight))
    for client in range(w.COHORT):
        x = clients.tensors(client)[0].flatten(1).clone()
        torch.mm(x, weight.mT)
        torch.mm(x, x.mT)
        torch.mm(change.mT, x)


def _replies(layout: Layout) -> None:
    """From a delta to the sum, for a cohort."""
    strategy = hr.fedavg()
    collector = StartCollector(strategy, layout, 0)(1, w.COHORT)
    delta = np.full(layout.dimension, 0.01, np.float32)
    none = np.empty(0, np.float32)
    for client in range(w.COHORT):
        name = f"client-{client}"
        context = RoundContext(0, 1, name, layout, w.SAMPLES)
        payload, _ = encode(strategy.pipeline, delta.copy(), {}, context)
        collector.add(name, records.Reply(payload, none, w.SAMPLES, {"loss": 1.0}, none))
    if collector.collected.dropped:
        raise RuntimeError(f"replies were dropped: {collector.collected.dropped}")


if __name__ == "__main__":
    main()
