"""Wrong arguments of every public name: one sentence that names them, and nothing that is silently wrong."""

import collections.abc
import inspect
import linecache
import math
import re
import shutil
import types
import typing
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from flwr.clientapp import ClientApp
from torch import nn

import hedgerow as hr
from hedgerow import checks
from hedgerow.client.client_round import honest
from hedgerow.client.data import ClientData
from hedgerow.client.trainer import Trainer
from hedgerow.types import Tensor
from tests.support import LAYOUT, MeanTrainer, clients

Given: TypeAlias = dict[str, Any]

SAMPLES = hr.Samples(np.zeros((4, 3), np.float32), np.array([0, 1, 0, 1]))
DATASET = hr.Dataset("ours", SAMPLES, SAMPLES, ("no", "yes"))
TASK = hr.Task(lambda: nn.Linear(3, 2))
MODEL = MeanTrainer().initial(0)
STRATEGY = hr.fedavg()
PARTS = {
    "sampling": hr.uniform(2), "local": hr.LocalTraining(), "pipeline": hr.quantize(8),
    "aggregate": hr.mean(),
    "quorum": 0.5, "max_weight": None, "max_norm": None, "weighted": True,
}  # fmt: skip
PLAIN = {**PARTS, "weighted": False}
SUMMED = {
    "sampling": hr.uniform(20),
    "local": hr.LocalTraining(),
    "pipeline": hr.random_k(0.5),
    "aggregate": hr.mean(),
    "quorum": 0.5,
}
NOISED = {
    "local": hr.LocalTraining(),
    "aggregate": hr.mean(),
    "weighted": False,
    "max_weight": None,
    "max_norm": None,
}
STATE = hr.begin(STRATEGY, MODEL, LAYOUT)
RUN = {
    "seed": 1, "evaluate": None, "timeout": None, "register": None, "deployment": hr.Deployment.REAL,
    "over_select": 0.0, "retry": 0, "joined": None,
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
    "Layout": {"parameters": (Tensor("w", (2,)),), "buffers": (), "constants": ()},
    "LocalTraining": {
        "optimizer": "sgd", "learning_rate": 0.1, "learning_rate_decay": 1.0, "epochs": 1, "batch_size": 10,
        "momentum": 0.5, "weight_decay": 0.1, "proximal": 0.1, "clip_gradient": 1.0, "clip_samples": 1.0,
        "sample_noise": 1.0, "sample_rate": 0.5, "sample_delta": 1e-5, "sample_epsilon": 8.0,
        "sample_adjacency": "zero_out",
    },
    "Model": {"parameters": np.zeros(3, np.float32), "buffers": np.zeros(1, np.float32),
    "constants": np.zeros(1)},
    "Payload": {"arrays": {"values": np.zeros(3)}, "weight": 2.0},
    "RunOptions": {
        "deployment": None, "trainer": "loop", "device": None, "precision": "float32", "workers": 1,
        "engine": "ray", "address": None, "gpus": 0.0, "client_timeout": None, "memory_limit": None,
        "timeout": None, "min_clients": 0, "register": None, "over_select": 0.0, "retry": 0, "joined": None,
    },
    "Samples": {"x": np.zeros((2, 3), np.float32), "y": np.array([0, 1])},
    "ServerState": {
        "round": 1, "model": MODEL, "update": {}, "streams": {}, "uncounted": {}, "aggregate": {},
        "private": {},
    },
    "Strategy": {
        "name": "mine", "sampling": hr.uniform(2), "local": hr.LocalTraining(), "pipeline": hr.quantize(8),
        "aggregate": hr.mean(), "server_update": STRATEGY.server_update, "quorum": 0.5, "max_weight": None,
        "max_norm": None, "streams": (), "budget": None, "origin": None,
    },
    "Task": {
        "model": lambda: nn.Linear(3, 2), "loss": None, "metrics": None, "statistics": [], "constants": [],
    },
    "TorchTrainer": {
        "task": TASK, "threads": 1, "device": None, "precision": "float32", "evaluation_batch": 8,
    },
    "adaptive_clip": {"initial": 0.5, "quantile": 0.5, "learning_rate": 0.2, "share": 0.01},
    "banded_noise": {"multiplier": 1.0, "bands": 2, "rounds": 4},
    "begin": {"strategy": STRATEGY, "model": MODEL, "layout": LAYOUT},
    "chain": {},
    "client_app": {
        "task": TASK, "data": clients(2), "strategy": STRATEGY, "state_folder": "state", "enrolment": max,
        "deployment": hr.Deployment.SIMULATED, "guard": None, "sent": honest,
    },
    "clip": {"norm": 1.0},
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
    "error_feedback": {},
    "fedadagrad": {"server_learning_rate": 0.1, "tau": 0.1, **PARTS},
    "fedadam": {"server_learning_rate": 0.1, "beta_1": 0.5, "beta_2": 0.5, "tau": 0.1, **PARTS},
    "fedavg": PARTS,
    "fedavgm": {"server_learning_rate": 0.1, "server_momentum": 0.5, **PARTS},
    "feddyn": {"alpha": 0.1, **PLAIN},
    "fednova": {"server_learning_rate": 0.5, **PARTS},
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
    "mask": {"corrupt": 0.1, "dropout": 0.1, "min_clients": 10, "failure_bits": 40, "metrics": "loss"},
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
        **SUMMED,
    },
    "server_app": {**SERVE, **RUN, "evaluate_every": 1, "on_round": None, "options": None},
    "shards": {"clients": 2, "shards_per_client": 2},
    "simulate": {
        "task": MeanTrainer(), "clients": clients(2), "strategy": STRATEGY, "rounds": 0, "test": None,
        "seed": 1,
        "folder": "run", "evaluate_every": 1, "workers": 1, "trainer": "loop", "device": None,
        "client_timeout": None, "memory_limit": None, "engine": "local", "address": None, "gpus": 0.0,
        "precision": "float32", "deployment": hr.Deployment.SIMULATED, "options": None,
        "masks": False, "initial": None, "adversary": None, "client_evaluation": None, "record": False,
    },
    "top_k": {"fraction": 0.5},
    "train": {
        "grid": grid(), "layout": LAYOUT, "contents": None, "client_evaluation": None, "record": False,
        "options": None, "evaluate_every": 1, **SERVE, "initial": MODEL, **RUN,
    },
    "trimmed_mean": {"trim": 0.2},
    "uniform": {"clients": 2, "fraction": None},
    "weight_by_examples": {"max_weight": 100},
}  # fmt: skip

# These are chosen by name, made by the library for its callers, or given to torch and called by it.
NOT_CALLED = {"Deployment", "RoundResult", "absolute_error", "squared_error"}
# Its right call would load dp-accounting: it has a test of its own.
APART = {"calibrated"}

LEFT_OUT = {  # these take no other value than their own
    "dp_fedavg": {"quorum"}, "dp_ftrl": {"quorum"}, "secure_dp_fedavg": {"quorum", "pipeline"},
}  # fmt: skip
MANY_A_ROUND = {
    "Model",
    "Payload",
    "Samples",
    "ServerState",
}  # Python itself says what is wrong with a keyword
VARYING = {
    "chain": ("return", "steps"),
    "error_feedback": ("return", "steps"),
    "load_dataset": ("return", "options"),
}
CLASSES_MAKE = {("Task", "model"), ("lora", "model"), ("client_app", "data"), ("InProcessGrid", "names")}

WRONG = [
    None, "", "no such thing", b"bytes", -1, -0.5, 0, 2.5, 10**400, math.nan, math.inf, 1j, True, {},
    {"a": 1},
    [], [1, "a"], (1, 2, 3), object(), int, hr.Strategy, hr.fedavg, nn.Linear(2, 2), np.zeros((2, 2)),
    np.array(["a"]), torch.zeros(2, 2, 2), hr.Samples, SAMPLES, DATASET, STRATEGY, hr.uniform(3), TASK,
]  # fmt: skip


def a_call(name: str, given: Given) -> Any:
    """What the name makes of these arguments; of a run, its first step."""
    made = getattr(hr, name)(**given)
    if inspect.isgenerator(made):
        return next(made, None)
    return made


def takes(name: str) -> dict[str, Any]:
    """The annotation of each argument."""
    made = getattr(hr, name)
    make = inspect.unwrap(made.__init__ if isinstance(made, type) else made)
    hints = typing.get_type_hints(make, include_extras=True, localns={"Dataset": hr.Dataset})
    parts = hints.pop("parts", None) or hints.pop("changes", None)
    if parts is not None:
        (typed,) = typing.get_args(parts)
        hints |= typing.get_type_hints(typed)
    return {key: hint for key, hint in hints.items() if key not in VARYING.get(name, ("return",))}


def fits(hint: Any, value: Any) -> bool:
    """Whether a type checker would take the value; of arrays, whether it might."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(fits(part, value) for part in parts)
    if origin is tuple:
        return isinstance(value, tuple | list)
    if origin is typing.Literal:
        return isinstance(value, str) and value in parts
    if origin is collections.abc.Callable:
        return callable(value) and not isinstance(value, type)
    if hint is Any or origin is np.ndarray or hint in (ClientData, Trainer, np.typing.ArrayLike):
        return hasattr(value, "shape") or isinstance(value, int | float | list | tuple)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value % 1)
    if hint is Path:
        return isinstance(value, Path | str)
    return isinstance(value, typing.cast(Any, origin or hint)) and not isinstance(value, type)


def said_of(error: Exception, argument: str, value: Any) -> None:
    """Raised on purpose by Hedgerow: one line, not too long, that names the argument or says its value."""
    text, trace = str(error), error.__traceback__
    assert isinstance(error, ValueError | TypeError), repr(error)
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    assert trace is not None
    where = trace.tb_frame.f_code.co_filename
    assert "/hedgerow/" in where, f"{where} says {text}"
    assert linecache.getline(where, trace.tb_lineno).strip().startswith("raise "), f"an accident: {text}"
    assert "\n" not in text
    assert len(text) < 400, text
    assert "object at 0x" not in text, text
    named = argument in text or argument.removesuffix("s") in text.replace(" ", "_")
    assert named or str(getattr(value, "name", value)) in text, f"{argument}={value!r}: {text}"


def test_every_public_name_is_tried():
    assert set(hr.__all__) == set(RIGHT) | NOT_CALLED | APART


@pytest.mark.parametrize("name", RIGHT)
def test_every_argument_is_tried(name):
    assert set(RIGHT[name]) == set(takes(name)) - LEFT_OUT.get(name, set())


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("model") / "model.safetensors"
    hr.save_model(file, MODEL, LAYOUT)
    return file


@pytest.fixture(autouse=True)
def _in_a_folder_with_a_model(tmp_path, monkeypatch, model_file):
    monkeypatch.chdir(tmp_path)
    shutil.copy(model_file, tmp_path)


@pytest.mark.parametrize(
    ("name", "argument"), [(name, key) for name, given in RIGHT.items() for key in given]
)
def test_a_wrong_argument_gives_one_sentence_that_names_it(name, argument):
    hint = takes(name)[argument]
    a_call(name, RIGHT[name])
    for value in WRONG:
        if (name, argument) == ("train", "min_clients") and fits(hint, value):
            continue  # it waits for them
        shutil.rmtree("run", ignore_errors=True)  # which is another value's run
        try:
            a_call(name, {**RIGHT[name], argument: value})
        except Exception as error:
            if not (callable(value) and fits(hint, value)):  # else what it raises is its own
                said_of(error, argument, value)
        else:
            as_a_class = isinstance(value, type) and (name, argument) in CLASSES_MAKE
            taken = as_a_class or (name, argument) == ("Payload", "weight")  # the server looks at it
            assert fits(hint, value) or taken, f"{argument}={value!r} is taken"


@pytest.mark.parametrize("name", sorted(set(RIGHT) - {"error_feedback"}))
def test_numbers_of_numpy_and_texts_for_paths_are_taken(name):
    plain = a_call(name, RIGHT[name])
    numpys = {int: np.int32, float: np.float64, bool: np.bool_, str: np.str_}
    given = {key: numpys.get(type(value), lambda v: v)(value) for key, value in RIGHT[name].items()}
    found = a_call(name, given)
    assert type(found) is type(plain)
    if hasattr(plain, "name"):
        assert found.name == plain.name
    if isinstance(found, hr.LocalTraining | hr.Budget):
        assert repr(found) == repr(plain)
        assert found == plain
    paths = {
        key: Path(RIGHT[name][key])
        for key, hint in takes(name).items()
        if "Path" in str(hint) and RIGHT[name].get(key)
    }
    a_call(name, {**RIGHT[name], **paths})


@pytest.mark.parametrize("name", sorted(set(RIGHT) - {"chain", "error_feedback"}))
def test_an_unknown_keyword_is_named(name):
    with pytest.raises((TypeError, ValueError), match="'no_such_thing'") as caught:
        a_call(name, {**RIGHT[name], "no_such_thing": 1})
    if set(RIGHT[name]) - {"name_or_path"} and name not in MANY_A_ROUND:
        assert repr(next(iter(RIGHT[name]))) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        (
            "simulate",
            {"clients": DATASET},
            "clients is a Dataset; it must be a Federation, such as dataset.split",
        ),
        ("simulate", {"test": (SAMPLES.x, SAMPLES.y)}, "test is a tuple; .* such as dataset.test or Samples"),
        (
            "simulate",
            {"test": DATASET},
            "test is a Dataset; it must be Samples or None, such as dataset.test",
        ),
        (
            "simulate",
            {"task": nn.Linear(2, 2)},
            r"task is a Linear; it must be a Task, such as Task\(MyModel\)",
        ),
        (
            "simulate",
            {"strategy": "fedavg"},
            r"strategy is 'fedavg'; it must be a Strategy, such as fedavg\(\)",
        ),
        ("simulate", {"strategy": hr.fedavg}, "strategy is the function fedavg; it must be a Strategy"),
        ("simulate", {"rounds": 2.5}, "rounds is 2.5; it must be a whole number of at least 0"),
        ("simulate", {"evaluate_every": 0}, "evaluate_every is 0; it must be a whole number of at least 1"),
        ("simulate", {"round": 3}, "simulate.. has no argument 'round'; .* Did you mean 'rounds'"),
        ("fedavg", {"local": {"epochs": 2}}, r"local is {'epochs': 2}; .* such as LocalTraining\(epochs=2\)"),
        ("fedprox", {"local": {"epochs": 2}}, "local is {'epochs': 2}; it must be a LocalTraining"),
        ("fedavg", {"pipeline": "quantize(8)"}, "pipeline is 'quantize.8.'; .* parse_pipeline"),
        ("fedavg", {"sampling": "uniform"}, r"sampling is 'uniform'; .* such as uniform\(10\)"),
        ("fedavg", {"aggregate": hr.median}, "aggregate is the function median; .* parse_aggregate"),
        (
            "fedadam",
            {"server_lr": 0.1},
            "has no argument 'server_lr'; .* Did you mean 'server_learning_rate'",
        ),
        (
            "LocalTraining",
            {"lr": 0.1},
            "LocalTraining.. has no argument 'lr'; it has 'optimizer', 'learning_rate'",
        ),
        (
            "LocalTraining",
            {"epochs": 2.0},
            "epochs is 2.0; it must be a whole number of at least 1, such as 2",
        ),
        ("iid", {"clients": True}, "clients is True; it must be a whole number"),
        ("client_app", {"data": DATASET}, "data is a Dataset; it must be a Federation"),
    ],
)
def test_what_people_write_by_mistake_is_answered_with_what_to_write(name, given, said):
    with pytest.raises((TypeError, ValueError), match=said):
        a_call(name, {**RIGHT[name], **given})


@pytest.mark.parametrize("join", [hr.chain, hr.error_feedback])
@pytest.mark.parametrize("step", ["quantize(8)", hr.quantize, None, 8])
def test_a_step_that_is_none_is_named(join, step):
    with pytest.raises(
        ValueError, match=f"a step is {re.escape(checks.shown(step))}; it must be a Transform"
    ):
        join(hr.top_k(0.1), step)


@pytest.mark.parametrize(
    ("make", "said"), [("dp", "make is 'dp'"), (lambda noise: noise, "make gives is 1.0")]
)
def test_what_is_calibrated_makes_a_strategy(make, said):
    with pytest.raises(ValueError, match=said):
        hr.calibrated(make, rounds=3)


def test_a_split_is_by_a_partition():
    with pytest.raises(ValueError, match=r"partition is 10; it must be a Partition, such as iid\(10\)"):
        DATASET.split(10)
    assert len(DATASET.split(hr.iid(2), seed=np.int64(1))) == 2


@pytest.mark.parametrize("given", ["torch", "float64", "list"])
def test_samples_and_models_of_other_libraries_and_types_are_converted(given):
    wanted = np.array([[1.5, 2.5], [0.5, 0.0]], np.float32)
    x = {
        "torch": torch.from_numpy(wanted).double(),
        "float64": wanted.astype(float),
        "list": wanted.tolist(),
    }[given]
    samples = hr.Samples(x, torch.tensor([0, 1], dtype=torch.int32))
    assert samples.x.dtype == np.float32
    assert samples.y.dtype == np.int64
    assert (samples.x == wanted).all()
    model = hr.Model(x[0])
    assert model.parameters.dtype == np.float32
    assert model.parameters.tolist() == wanted[0].tolist()


def test_samples_that_are_right_are_not_copied():
    x, y = np.zeros((3, 2), np.float32), np.zeros(3, np.int64)
    samples = hr.Samples(x, y)
    assert samples.x is x
    assert samples.y is y
    assert hr.Model(x[0]).parameters.base is x


def test_a_mistake_in_a_run_makes_no_folder(tmp_path):
    with pytest.raises(ValueError, match="test is 1"):
        next(hr.simulate(MeanTrainer(), clients(2), STRATEGY, rounds=1, test=1, folder=tmp_path / "run"))
    assert not (tmp_path / "run").exists()
