"""Golden vectors of what a device decides: its policy, its account, what it reads of a run, and its own data.

devices.json  for each policy, what it refuses of some messages; texts of policies; epsilons of clients'
              noise; the sentence of each refusal; descriptions; what schema and split make of samples
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from hedgerow.client import constants, discretion, limits, state
from hedgerow.client.policy import AgainstPolicy, Policy, PolicyError
from hedgerow.client.policy_file import load_policy, policy_text
from hedgerow.datasets.held_out import hold_out_of
from hedgerow.graphs.offer import Offer
from hedgerow.node import errors as node_errors
from hedgerow.privacy.accounting import epsilon
from hedgerow.privacy.events import Gaussian, Skellam, to_json
from hedgerow.recipe.announcement import Announcement, understand
from hedgerow.recipe.own_data import OwnSchema
from hedgerow.recipe.strategy import build
from hedgerow.secure import errors
from hedgerow.secure.errors import Refused
from hedgerow.types import LocalTraining, Samples
from tests.golden.client_vectors import values

_KINDS = (
    "query", "query.statistics", "train", "evaluate", "train.masked", "evaluate.keys", "evaluate.failed",
    "münchen" * 20,
)  # fmt: skip
_STRATEGIES: tuple[dict[str, Any], ...] = (
    {"preset": "fedavg"},
    {"preset": "secure_fedavg"},
    {"preset": "secure_fedavg", "options": {"min_clients": 4, "corrupt": 0.1}},
    {"preset": "secure_dp_fedavg"},
    {"preset": "dp_fedavg"},
    {
        "preset": "fedavg",
        "local": {"clip_samples": 1, "sample_noise": 1.5, "sample_rate": 0.1, "sample_delta": 1e-5},
    },
)
_POLICIES = (
    "# as a device has it that was enrolled\n",
    """masked_only = false
evaluate = true
statistics = true
min_clients = 3
corrupt = 0.0
failure_bits = 20
""",
    """masked_only = false
statistics = true
evaluate = true
sample_noise = 1.25
sample_epsilon = 3.0
""",
    """client_noise = 5.0
client_epsilon = 8.5  # about it
failure_bits = 128
corrupt = 0.33
min_clients = 50
""",
    f"""strategies = [
  '{"0" * 64}', # a list
  "{"1" * 64}",
]
most_answers = 7
delta = 1e-6
models = false
""",
    f"""graphs.hashes = ["{"a" * 64}"]
graphs.in_the_clear = true
recipes = []
[limits]
quiet = ['22:00-06:00']
""",
    f"""[graphs]
keys = ["{"b" * 64}"]
megabytes = 64
[limits]
temperature = 70.0
memory = 512
on_mains = true
""",
)
_WRONG = (
    "masked = true", "min_clients = 2", "min_clients = 10.0", "failure_bits = 19", "corrupt = 1", "delta = 0",
    "client_noise = -1", "sample_noise = '1'", "client_epsilon = 0", "most_answers = 0", "evaluate = 1",
    "recipes = 'a'", "data = [1]", "strategies = ['']", "graphs = 1", "graphs.hash = []",
    "graphs.hashes = ['a']", "graphs.megabytes = 0", "graphs.in_the_clear = 'no'", "limits = []",
    "[limits]\nquiet = ['9:00-10:00']",
    "[limits]\nmemory = 127", "[limits]\nthread = 1", "[limits]\nunmetered = 0", "[limits]\ntemperature = -1",
)  # fmt: skip
_BROKEN = (
    "evaluate = maybe",
    "evaluate",
    "evaluate = true false",
    "[graphs",
    "a = [1",
    "evaluate = true\nevaluate = true",
)
_RELEASES: tuple[tuple[tuple[Gaussian | Skellam, int], ...], ...] = (
    ((Gaussian(2.3), 5),),
    ((Gaussian(4.0), 1),),
    ((Gaussian(4.0), 40), (Gaussian(1.5), 3)),
    ((Gaussian(0.05), 2),),
    ((Gaussian(1e-3), 100),),
    ((Gaussian(500.0), 1),),
    ((Skellam(10_000, 100.0, 1000.0), 4),),
    ((Skellam(263_700, 500.0, 25_000.0), 30), (Gaussian(3.0), 2)),
)
_SCHEMA = {
    "columns": ["age", "pressure"], "label": "sick", "classes": ["no", "yes"],
    "shift": [50.0, 120], "scale": [10, 7.5], "lowest": [0.0], "highest": [120.0, 260.0],
}  # fmt: skip
_OFFER = Offer("c" * 64, 5000)


def _description(**others: Any) -> dict[str, Any]:
    return {
        "strategy": {"preset": "fedavg", "pipeline": "quantize(8)", "local": {"learning_rate": 1}},
        "task": {"kind": "classification", "model": {"name": "mlp", "arguments": {"n": 8}}, "lora": None},
        "data": {
            "name": "own", **_SCHEMA, "input_shape": [2], "num_outputs": 2, "held_out": 0.25,
            "held_out_by": "row",
        },
        "run": {"trainer": "loop", "precision": "float32"},
        "graphs": _OFFER.to_json(), "layout": "0123456789abcdef", "seed": 2**60 + 1, **others,
    }  # fmt: skip


_NOT_DESCRIPTIONS: tuple[Any, ...] = (
    [], {}, _description(strategy={"preset": "own"}), _description(task={"kind": 1}), _description(seed="1"),
    _description(run={}),
    _description(data={"name": "own", "held_out": None, "held_out_by": "row", "columns": "ab"}),
    _description(graphs={"hash": "c"}), _description(layout=3),
)  # fmt: skip


def devices() -> Any:
    """Everything, by what it is about."""
    return {
        "refusals": [_refusals(text) for text in _POLICIES],
        "strategies": [json.dumps(each) for each in _STRATEGIES],
        "kinds": list(_KINDS),
        "not policies": {text: _why(text) for text in _WRONG},
        "broken policies": list(_BROKEN),
        "epsilons": [_epsilons(each) for each in _RELEASES],
        "sentences": {each.__name__: (each.__doc__ or "").partition("\n")[0] for each in _classes()},
        "description": _described(),
        "not descriptions": [json.dumps(each) for each in _NOT_DESCRIPTIONS],
        "schema": _prepared(),
        "learning rates": [
            _rate(decay, round) for decay in (0.99, 0.9, 0.9375, 1.0) for round in (1, 2, 38, 501)
        ],
        "held out": [
            _held(by, fraction) for by in ("row", "time", "random") for fraction in (0.25, 0.5, 0.01)
        ],
    }


def _policy(text: str) -> Policy:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "policy.toml"
        file.write_text(text, encoding="utf-8")
        return load_policy(file)


def _refusals(text: str) -> dict[str, Any]:
    policy = _policy(text)
    built = [build(each) for each in _STRATEGIES]
    return {
        "policy": text,
        "text": policy_text(policy),
        "refused": [["; ".join(policy.refusals(kind, each)) for kind in _KINDS] for each in built],
        "graphs": [policy.graphs.refusals(_OFFER, protected=protected) for protected in (True, False)],
    }


def _why(text: str) -> str:
    try:
        _policy(text)
    except PolicyError as error:
        return str(error).partition("cannot be read: ")[2]
    raise AssertionError(f"{text} is not refused")


def _epsilons(releases: tuple[tuple[Gaussian | Skellam, int], ...]) -> dict[str, Any]:
    events = [event for event, times in releases for _ in range(times)]
    told = [
        {"times": times, **{k: _plain(v) for k, v in to_json(event).items()}} for event, times in releases
    ]
    return {
        "releases": told,
        "epsilon": {delta: epsilon(events, float(delta)) for delta in ("1e-05", "0.001")},
    }


def _plain(value: Any) -> Any:
    return value if isinstance(value, str) else float(value)


def _classes() -> list[type[Refused]]:
    """The refusals that a client may send, besides those of its policy."""
    modules = (errors, constants, limits, state, discretion, node_errors)
    kinds = [each for module in modules for each in vars(module).values() if isinstance(each, type)]
    ours = {each for each in kinds if issubclass(each, Refused) and each not in (Refused, AgainstPolicy)}
    return sorted(ours, key=lambda each: each.__name__)


def _described() -> dict[str, Any]:
    announced = Announcement.of(_description(), run="5eed" * 8, version="0.1.0")
    run = understand(announced.description)
    assert run.schema is not None
    assert run.graphs is not None
    return {
        "json": announced.description, "digest": announced.digest, "seed": str(run.seed), "model": run.model,
        "held out": run.held_out, "layout": run.layout, "shape": list(run.schema.input_shape),
        "graphs": run.graphs.hash,
    }  # fmt: skip


def _rate(decay: float, round: int) -> list[Any]:
    return [decay, round, LocalTraining(learning_rate_decay=decay).learning_rate_at(round)]


def _prepared() -> dict[str, Any]:
    schema = OwnSchema.from_json(_SCHEMA)
    given = np.array([[41.3, 133.7], [0.1, 260.0], [119.99, 1 / 3]])
    return {
        "json": json.dumps(_SCHEMA), "values": given.ravel().tolist(),
        "prepared": schema.prepare(given).tobytes().hex(),
        "allowed": [schema.allowed(0), schema.allowed(1)],
    }  # fmt: skip


def _held(by: str, fraction: float) -> dict[str, Any]:
    samples = Samples(values(24 * 3, 5).reshape(24, 3), np.arange(24) % 3)
    train, held = hold_out_of(lambda: samples, 24, fraction, by, client="kitchen", seed=2**60)
    return {"by": by, "fraction": fraction, "train": train.tolist(), "held out": held.tolist()}
