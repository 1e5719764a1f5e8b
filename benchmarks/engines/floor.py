"""What a round of the MLP and of LeNet takes at least, in CPU seconds.

    .envs/hedgerow/bin/python floor.py        # in this folder; prints JSON, which run.py puts on the page

Parts are measured alone, without the training around them: the arithmetic, at
the speed that torch has for it here; and what is promised for each reply: it is
measured, checked, and added to a sum that does not depend on order. The
arithmetic is, of the MLP, the matrix products of its first layer; of LeNet,
each layer's forward and backward pass on a batch of one client, in the order in
memory that torch's kernels want, and with everything at hand.
"""

import json
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import numpy as np
import torch
import workload as w
from torch import nn

import hedgerow as hr
from hedgerow.server.collector import StartCollector
from hedgerow.strategies.pipeline.coding import encode
from hedgerow.types import Client, Layout, RoundContext
from hedgerow.types import Tensor as Slot
from hedgerow.wire.replies import Reply

ROUNDS, REPEATS = 15, 200


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    mlp, lenet = (w.WORKLOADS[name] for name in ("mlp", "lenet"))
    clients, model = w.Clients(mlp), w.make_model(mlp)
    found = {
        "mlp": {
            "arithmetic": _cpu_seconds(lambda: _products(clients, model)),
            "replies": _cpu_seconds(lambda: _replies(_layout(model))),
        },
        "lenet": {
            "arithmetic": _layers(w.make_model(lenet), w.Clients(lenet)),
            "replies": _cpu_seconds(lambda: _replies(_layout(w.make_model(lenet)))),
        },
    }
    print(json.dumps(found))


def _layout(model: nn.Module) -> Layout:
    return Layout(tuple(Slot(n, tuple(p.shape)) for n, p in model.named_parameters()))


def _cpu_seconds(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    taken = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return round(median(taken), 7)


def _layers(model: nn.Module, clients: w.Clients) -> float:
    """Of a cohort's steps: the forward and backward passes of a sequential model's layers, each alone."""
    assert isinstance(model, nn.Sequential)
    model = model.to(memory_format=torch.channels_last)
    x = clients.tensors(0)[0][: w.BATCH].contiguous(memory_format=torch.channels_last)
    total = 0.0
    for place, layer in enumerate(model):
        x = x.detach().requires_grad_(place > 0)
        wanted = [*([x] if place else []), *layer.parameters()]
        y = layer(x)
        change = torch.ones_like(y)
        total += _cpu_seconds(partial(layer, x), REPEATS)
        if wanted:
            back = partial(torch.autograd.grad, y, wanted, change, retain_graph=True)
            total += _cpu_seconds(back, REPEATS)
        x = y
    return total * w.COHORT * w.EPOCHS * -(-w.SAMPLES // w.BATCH)


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
    for client in range(w.COHORT):
        name = f"client-{client}"
        context = RoundContext(0, 1, Client(name), layout, w.SAMPLES)
        payload, _ = encode(strategy.pipeline, delta.copy(), {}, context)
        collector.add(name, Reply(payload, {}, w.SAMPLES, {"loss": 1.0}))
    if collector.collected.dropped:
        raise RuntimeError(f"replies were dropped: {collector.collected.dropped}")


if __name__ == "__main__":
    main()
