"""Your own model and your own data, in about 15 lines."""

import numpy as np
from torch import nn

import hedgerow as hr

rng = np.random.default_rng(0)
x = rng.normal(size=(2000, 8)).astype(np.float32)  # your features
y = (x[:, 0] * x[:, 1] > 0).astype(np.int64)  # your labels
data = hr.from_arrays(x, y, test=0.2).split(hr.dirichlet(clients=20, alpha=0.5))

task = hr.Task(model=lambda: nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 2)))
strategy = hr.fedavg(
    sampling=hr.uniform(5),
    local=hr.LocalTraining(learning_rate=0.1, epochs=5, batch_size=16),
    pipeline=hr.error_feedback(hr.top_k(0.1), hr.quantize(8)),
)
for result in hr.simulate(task, data, strategy, rounds=20, test=data.dataset.test):
    sent = sum(result.bytes_up.values())
    print(f"round {result.round}: accuracy {result.evaluation['accuracy']:.3f}, {sent:,} bytes up")
