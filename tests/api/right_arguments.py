"""What each public name takes, and a call of it."""

import inspect
from typing import Any, TypeAlias

import numpy as np
from flwr.clientapp import ClientApp
from torch import nn

import hedgerow as hr
from hedgerow.client.client_round import honest
from hedgerow.client.pace import CLOCK
from hedgerow.types import Tensor
from hedgerow.types.flights import Flights
from tests.support import LAYOUT, MeanTrainer, clients

Given: TypeAlias = dict[str, Any]

SAMPLES = hr.Samples(np.zeros((4, 3), np.float32), np.array([0, 1, 0, 1]))

DATASET = hr.Dataset("ours", SAMPLES, SAMPLES, ("no", "yes"))

TASK = hr.Task(lambda: nn.Linear(3, 2))

MODEL = MeanTrainer().initial(0)

STRATEGY = hr.fedavg()

PARTS = {
    "sampling": hr.uniform(2), "local": hr.LocalTraining(), "pipeline": hr.quantize(8),
    "downlink": hr.eden(4), "aggregate": hr.mean(),
    "quorum": 0.5, "max_weight": None, "max_norm": None, "norm_bound": 10.0, "weighted": True,
    "personal": "head",
}  # fmt: skip

PLAIN = {**PARTS, "weighted": False}

ARRIVING = {**PARTS, "downlink": hr.float32()}

SUMMED = {
    "sampling": hr.uniform(20),
    "local": hr.LocalTraining(),
    "pipeline": hr.random_k(0.5),
    "downlink": hr.eden(4),
    "aggregate": hr.mean(),
    "quorum": 0.5,
    "personal": (),
}

NOISED = {
    "local": hr.LocalTraining(),
    "downlink": hr.eden(4),
    "aggregate": hr.mean(),
    "weighted": False,
    "max_weight": None,
    "max_norm": None,
    "norm_bound": 0,
    "personal": (),
}

STATE = hr.begin(STRATEGY, MODEL, LAYOUT)

RUN = {
    "seed": 1, "evaluate": None, "timeout": None, "register": None, "deployment": hr.Deployment.REAL,
    "over_select": 0.0, "retry": 0, "quorum": 1, "set_aside": 3, "joined": None,
}  # fmt: skip

SERVE = {
    "strategy": STRATEGY,
    "initial": lambda: (MODEL, LAYOUT),
    "num_rounds": 0,
    "folder": None,
    "min_clients": 0,
}


def grid() -> hr.InProcessGrid:
    data = clients(2)
    return hr.InProcessGrid(hr.client_app(MeanTrainer(), data, STRATEGY, guard=None), 2, names=data.names)


# What each public name takes; every argument that a person may give is here once, and is right.
RIGHT: dict[str, Given] = {
    "Budget": {"delta": 1e-5, "epsilon": 1.0, "adjacency": "replace"},
    "Dataset": {
        "name": "ours", "train": SAMPLES, "test": SAMPLES, "classes": ("no", "yes"),
        "natural": np.array([0, 0, 1, 1]), "clients": ("a", "b"), "source": "", "licence": "", "note": "",
    },
    "EvaluationPlan": {"fraction": 0.5, "every": 2},
    "Federation": {
        "dataset": DATASET, "names": ("a", "b"), "indices": (np.array([0, 1]), np.array([2])), "held": (),
    },
    "InProcessGrid": {
        "client_app": ClientApp(), "num_clients": 2, "run_config": {}, "node_config": None, "names": None,
        "workers": 1, "client_timeout": None, "memory_limit": None, "start_method": None, "cluster": None,
        "states": None,
    },
    "Layout": {
        "parameters": (Tensor("w", (2,)),), "buffers": (), "constants": (), "unsent": (), "ties": (),
        "norms": (),
    },
    "LocalTraining": {
        "optimizer": "sgd", "learning_rate": 0.1, "learning_rate_decay": 1.0, "epochs": 1, "batch_size": 10,
        "max_steps": 5, "time_budget": 0.0, "momentum": 0.5,
        "weight_decay": 0.1, "proximal": 0.1, "clip_gradient": 1.0, "clip_samples": 1.0,
        "sample_noise": 1.0, "sample_rate": 0.5, "sample_delta": 1e-5, "sample_epsilon": 8.0,
        "sample_adjacency": "zero_out", "sample_gradients": "auto",
    },
    "Model": {"parameters": np.zeros(3, np.float32), "buffers": np.zeros(1, np.float32),
    "constants": np.zeros(1)},
    "Payload": {"arrays": {"values": np.zeros(3)}, "weight": 2.0},
    "RunOptions": {
        "deployment": None, "trainer": "loop", "device": None, "precision": "float32", "workers": 1,
        "engine": "ray", "address": None, "gpus": 0.0, "client_timeout": None, "memory_limit": None,
        "timeout": None, "min_clients": 0, "register": None, "over_select": 0.0, "retry": 0, "joined": None,
        "quorum": 1, "set_aside": 3,
    },
    "Samples": {"x": np.zeros((2, 3), np.float32), "y": np.array([0, 1])},
    "ServerState": {
        "round": 1, "model": MODEL, "update": {}, "streams": {}, "uncounted": {}, "aggregate": {},
        "private": {}, "holding": frozenset(), "norms": {}, "strikes": {}, "downlink": {}, "held": {},
        "clock": {}, "flights": Flights(),
    },
    "Strategy": {
        "name": "mine", "sampling": hr.uniform(2), "local": hr.LocalTraining(), "pipeline": hr.quantize(8),
        "downlink": hr.eden(4), "aggregate": hr.mean(), "server_update": STRATEGY.server_update,
        "quorum": 0.5, "max_weight": None, "max_norm": None, "norm_bound": 10.0, "streams": (),
        "budget": None, "origin": None, "personal": ("head",), "arrivals": None,
    },
    "Task": {
        "model": lambda: nn.Linear(3, 2), "loss": None, "metrics": None, "statistics": [], "constants": [],
    },
    "TorchTrainer": {
        "task": TASK, "threads": 1, "device": None, "precision": "float32", "evaluation_batch": 8,
    },
    "adaptive_clip": {"initial": 0.5, "quantile": 0.5, "learning_rate": 0.2, "share": 0.01},
    "arrivals": {
        "grid": grid(), "strategy": hr.fedbuff(), "state": STATE, "layout": LAYOUT, "num_rounds": 0,
        "roster": None, "client_evaluation": None, "record": None, "evaluate_every": 1, "options": None,
        **RUN,
    },
    "banded_noise": {"multiplier": 1.0, "bands": 2, "rounds": 4},
    "begin": {"strategy": STRATEGY, "model": MODEL, "layout": LAYOUT},
    "chain": {},
    "client_app": {
        "task": TASK, "data": clients(2), "strategy": STRATEGY, "state_folder": "state", "enrolment": max,
        "deployment": hr.Deployment.SIMULATED, "guard": None, "sent": honest,
        "initial": None, "step_times": CLOCK,
    },
    "class_means": {"model": lambda: nn.Linear(3, 2)},
    "clip": {"norm": 1.0},
    "clock": {
        "devices": ("pi-4",), "links": ("wifi",), "shares": (1.0,), "flops_per_example": 1e6,
        "slowdown": 1.5, "dropout": 0.1, "lost_after": 20.0, "own_devices": {}, "own_links": {},
        "availability": None,
    },
    "cyclic": {"clients": 2.0, "population": 10},
    "dirichlet": {"clients": 2, "alpha": 0.5, "min_samples": 1},
    "dp_fedavg": {
        "clip_norm": 0.5, "noise_multiplier": 1.0, "delta": 1e-5, "epsilon": 8.0, "clip_quantile": 0.5,
        "clip_share": 0.01, "clip_learning_rate": 0.2, "server_learning_rate": 1.0, "server_momentum": 0.5,
        "adjacency": "zero_out", "sampling": hr.poisson(2, 10), "pipeline": hr.top_k(0.5), **NOISED,
    },
    "dp_ftrl": {
        "clip_norm": 0.5, "noise_multiplier": 1.0, "delta": 1e-5, "epsilon": 8.0, "bands": 2, "horizon": 4,
        "server_learning_rate": 1.0, "server_momentum": 0.5, "adjacency": "zero_out",
        "sampling": hr.cyclic(2, 10), "pipeline": hr.top_k(0.5), **NOISED,
    },
    "entropy": {},
    "error_feedback": {},
    "fedadagrad": {"server_learning_rate": 0.1, "tau": 0.1, **PARTS},
    "fedadam": {"server_learning_rate": 0.1, "beta_1": 0.5, "beta_2": 0.5, "tau": 0.1, **PARTS},
    "fedavg": PARTS,
    "fedbn": PARTS,
    "fedavgm": {"server_learning_rate": 0.1, "server_momentum": 0.5, **PARTS},
    "feddyn": {"alpha": 0.1, **PLAIN},
    "fedasync": {"mixing": 0.5, "staleness": "poly(0.5)", "most_staleness": 10, **ARRIVING},
    "fedbuff": {
        "buffer": 4, "server_learning_rate": 0.5, "staleness": "hinge(10.0, 4)", "most_staleness": 10,
        **ARRIVING,
    },
    "fednova": {"server_learning_rate": 0.5, **PARTS},
    "fedper": {"layers": 1, **PARTS},
    "fedprox": {"mu": 0.1, **PARTS},
    "fedyogi": {"server_learning_rate": 0.1, "beta_1": 0.5, "beta_2": 0.5, "tau": 0.1, **PARTS},
    "float32": {},
    "from_arrays": {
        "x": np.zeros((4, 2)), "y": [0, 1, 0, 1], "test": 0.5, "classes": 2, "task": None, "clients": None,
        "seed": 1, "name": "ours",
    },
    "from_function": {"clients": 2, "samples": lambda number: SAMPLES},
    "gaussian_noise": {"multiplier": 1.0},
    "geometric_median": {"smoothing": 1e-6, "steps": 10},
    "iid": {"clients": 2},
    "krum": {"byzantine": 0.2, "keep": 1},
    "load_dataset": {"name_or_path": "heart-disease"},
    "load_model": {"path": "model.safetensors", "layout": LAYOUT},
    "lora": {
        "model": lambda: nn.Sequential(nn.Linear(3, 2)), "rank": 1, "targets": None, "train": (),
        "alpha": None,
    },
    "low_rank": {"model": lambda: nn.Sequential(nn.Linear(9, 9), nn.Linear(9, 2)), "rank": 1, "layers": None},
    "mask": {
        "corrupt": 0.1, "dropout": 0.1, "min_clients": 10, "failure_bits": 40, "metrics": "loss",
        "measured": "loss",
    },
    "mean": {},
    "median": {},
    "natural": {"clients": 2, "min_samples": 1},
    "parse_aggregate": {"text": "median()"},
    "parse_pipeline": {"text": "quantize(8)"},
    "poisson": {"clients": 2.0, "population": 10},
    "profile": {},
    "quantity_skew": {"clients": 2, "alpha": 0.5, "min_samples": 1},
    "quantize": {"bits": 8, "rounding": "nearest", "block": 16, "range": None},
    "random_k": {"fraction": 0.5, "unbiased": False},
    "ridge": {"model": lambda: nn.Linear(3, 2), "strength": 0.1},
    "rounds": {
        "grid": grid(), "strategy": STRATEGY, "state": STATE, "layout": LAYOUT, "num_rounds": 0,
        "roster": None,
        "ledger": None, "client_evaluation": None, "record": None, "evaluate_every": 1, "options": None,
        **RUN,
    },
    "save_model": {"path": "model.safetensors", "model": MODEL, "layout": LAYOUT, "rounds": 2},
    "scaffold": {"server_learning_rate": 0.5, **PLAIN},
    "secure_dp_fedavg": {
        "clip_norm": 0.5, "noise_multiplier": 4.0, "delta": 1e-5, "epsilon": 8.0, "bits": 16,
        "value_range": 0.1,
        "noise": "skellam", "corrupt": 0.2, "dropout": 0.2, "min_clients": 10, "server_learning_rate": 1.0,
        "server_momentum": 0.5, "adjacency": "zero_out", "sampling": hr.cyclic(20, 100), **NOISED,
    },
    "secure_fedavg": {
        "clip_norm": 1.0, "bits": 8, "value_range": 1.0, "max_examples": 100, "corrupt": 0.2, "dropout": 0.2,
        "min_clients": 10, "metrics": "loss", "weighted": True, "max_weight": None, "max_norm": None,
        "norm_bound": 0, **SUMMED,
    },
    "server_app": {**SERVE, **RUN, "evaluate_every": 1, "on_round": None, "options": None},
    "shards": {"clients": 2, "shards_per_client": 2},
    "simulate": {
        "task": MeanTrainer(), "clients": clients(2), "strategy": STRATEGY, "rounds": 0, "test": None,
        "seed": 1,
        "folder": "run", "evaluate_every": 1, "workers": 1, "trainer": "loop", "device": None,
        "client_timeout": None, "memory_limit": None, "engine": "local", "address": None, "gpus": 0.0,
        "precision": "float32", "deployment": hr.Deployment.SIMULATED, "options": None, "quorum": 1,
        "set_aside": 3,
        "masks": False, "initial": None, "adversary": None, "client_evaluation": None, "record": False,
        "devices": None, "clock": None, "timeout": None, "over_select": 0.0, "retry": 0,
    },
    "drive": {"unbiased": True},
    "eden": {"bits": 2, "unbiased": True},
    "subspace": {"fraction": 0.5, "unbiased": False},
    "ternary": {"fraction": 0.5},
    "top_k": {"fraction": 0.5},
    "train": {
        "grid": grid(), "layout": LAYOUT, "contents": None, "client_evaluation": None, "record": False,
        "keep_models": 1, "options": None, "evaluate_every": 1, **SERVE, "initial": MODEL, **RUN,
    },
    "trimmed_mean": {"trim": 0.2},
    "uniform": {"clients": 2, "fraction": None},
    "weight_by_examples": {"max_weight": 100},
}  # fmt: skip


def a_call(name: str, given: Given) -> Any:
    """What the name makes of these arguments; of a run, its first step."""
    made = getattr(hr, name)(**given)
    if inspect.isgenerator(made):
        return next(made, None)
    return made
