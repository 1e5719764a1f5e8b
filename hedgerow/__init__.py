"""Hedgerow: federated learning for edge devices on top of Flower.

Names are imported on first use, so a device that needs only part of Hedgerow
loads only that part.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hedgerow.extras import remedy

__version__ = "0.1.0"

_PLACES = {
    "hedgerow.types": [
        "Deployment", "Layout", "LocalTraining", "Model", "Payload", "RoundResult", "RunOptions", "Samples",
        "ServerState",
    ],
    "hedgerow.privacy.accounting": ["Budget"],
    "hedgerow.strategies": [
        "Strategy", "adaptive_clip", "banded_noise", "chain", "clip", "cyclic", "error_feedback",
        "float32", "gaussian_noise", "mask", "parse_pipeline",
        "geometric_median", "krum", "mean", "median", "parse_aggregate", "trimmed_mean",
        "poisson", "quantize", "random_k",
        "drive", "eden", "entropy", "subspace", "ternary", "top_k", "uniform", "weight_by_examples",
        "calibrated", "dp_fedavg", "dp_ftrl", "secure_dp_fedavg",
        "fedadagrad", "fedadam", "fedasync", "fedavg", "fedavgm", "fedbn", "fedbuff", "feddyn", "fednova",
        "fedper", "fedprox", "fedyogi", "scaffold", "secure_fedavg",
    ],
    "hedgerow.datasets": [
        "Dataset", "Federation", "dirichlet", "from_arrays", "from_function", "iid", "load_dataset",
        "natural", "quantity_skew", "shards",
    ],
    "hedgerow.client.app": ["client_app"],
    "hedgerow.client.regression": ["absolute_error", "squared_error"],
    "hedgerow.client.task": ["Task"],
    "hedgerow.client.torch.closed_form": ["class_means", "ridge"],
    "hedgerow.client.torch.factorised": ["low_rank"],
    "hedgerow.client.torch.lora": ["lora"],
    "hedgerow.client.torch.trainer": ["TorchTrainer"],
    "hedgerow.server.app": ["server_app", "train"],
    "hedgerow.server.arrivals": ["arrivals"],
    "hedgerow.server.checkpoint": ["load_model", "save_model"],
    "hedgerow.server.evaluation": ["EvaluationPlan"],
    "hedgerow.server.rounds": ["begin", "rounds"],
    "hedgerow.simulation.clock.clock": ["clock"],
    "hedgerow.simulation.grid": ["InProcessGrid"],
    "hedgerow.experiments.runs.simulate": ["simulate"],
    "hedgerow.experiments.runs.profile": ["profile"],
}  # fmt: skip
_PLACE_OF = {name: place for place, names in _PLACES.items() for name in names}

__all__ = sorted(_PLACE_OF)  # pyright: ignore[reportUnsupportedDunderAll]

if TYPE_CHECKING:
    from hedgerow.client.app import client_app as client_app
    from hedgerow.client.regression import absolute_error as absolute_error
    from hedgerow.client.regression import squared_error as squared_error
    from hedgerow.client.task import Task as Task
    from hedgerow.client.torch.closed_form import class_means as class_means
    from hedgerow.client.torch.closed_form import ridge as ridge
    from hedgerow.client.torch.factorised import low_rank as low_rank
    from hedgerow.client.torch.lora import lora as lora
    from hedgerow.client.torch.trainer import TorchTrainer as TorchTrainer
    from hedgerow.datasets import Dataset as Dataset
    from hedgerow.datasets import Federation as Federation
    from hedgerow.datasets import dirichlet as dirichlet
    from hedgerow.datasets import from_arrays as from_arrays
    from hedgerow.datasets import from_function as from_function
    from hedgerow.datasets import iid as iid
    from hedgerow.datasets import load_dataset as load_dataset
    from hedgerow.datasets import natural as natural
    from hedgerow.datasets import quantity_skew as quantity_skew
    from hedgerow.datasets import shards as shards
    from hedgerow.experiments.runs.profile import profile as profile
    from hedgerow.experiments.runs.simulate import simulate as simulate
    from hedgerow.privacy.accounting import Budget as Budget
    from hedgerow.server.app import server_app as server_app
    from hedgerow.server.app import train as train
    from hedgerow.server.arrivals import arrivals as arrivals
    from hedgerow.server.checkpoint import load_model as load_model
    from hedgerow.server.checkpoint import save_model as save_model
    from hedgerow.server.evaluation import EvaluationPlan as EvaluationPlan
    from hedgerow.server.rounds import begin as begin
    from hedgerow.server.rounds import rounds as rounds
    from hedgerow.simulation.clock.clock import clock as clock
    from hedgerow.simulation.grid import InProcessGrid as InProcessGrid
    from hedgerow.strategies import Strategy as Strategy
    from hedgerow.strategies import adaptive_clip as adaptive_clip
    from hedgerow.strategies import banded_noise as banded_noise
    from hedgerow.strategies import calibrated as calibrated
    from hedgerow.strategies import chain as chain
    from hedgerow.strategies import clip as clip
    from hedgerow.strategies import cyclic as cyclic
    from hedgerow.strategies import dp_fedavg as dp_fedavg
    from hedgerow.strategies import dp_ftrl as dp_ftrl
    from hedgerow.strategies import drive as drive
    from hedgerow.strategies import eden as eden
    from hedgerow.strategies import entropy as entropy
    from hedgerow.strategies import error_feedback as error_feedback
    from hedgerow.strategies import fedadagrad as fedadagrad
    from hedgerow.strategies import fedadam as fedadam
    from hedgerow.strategies import fedasync as fedasync
    from hedgerow.strategies import fedavg as fedavg
    from hedgerow.strategies import fedavgm as fedavgm
    from hedgerow.strategies import fedbn as fedbn
    from hedgerow.strategies import fedbuff as fedbuff
    from hedgerow.strategies import feddyn as feddyn
    from hedgerow.strategies import fednova as fednova
    from hedgerow.strategies import fedper as fedper
    from hedgerow.strategies import fedprox as fedprox
    from hedgerow.strategies import fedyogi as fedyogi
    from hedgerow.strategies import float32 as float32
    from hedgerow.strategies import gaussian_noise as gaussian_noise
    from hedgerow.strategies import geometric_median as geometric_median
    from hedgerow.strategies import krum as krum
    from hedgerow.strategies import mask as mask
    from hedgerow.strategies import mean as mean
    from hedgerow.strategies import median as median
    from hedgerow.strategies import parse_aggregate as parse_aggregate
    from hedgerow.strategies import parse_pipeline as parse_pipeline
    from hedgerow.strategies import poisson as poisson
    from hedgerow.strategies import quantize as quantize
    from hedgerow.strategies import random_k as random_k
    from hedgerow.strategies import scaffold as scaffold
    from hedgerow.strategies import secure_dp_fedavg as secure_dp_fedavg
    from hedgerow.strategies import secure_fedavg as secure_fedavg
    from hedgerow.strategies import subspace as subspace
    from hedgerow.strategies import ternary as ternary
    from hedgerow.strategies import top_k as top_k
    from hedgerow.strategies import trimmed_mean as trimmed_mean
    from hedgerow.strategies import uniform as uniform
    from hedgerow.strategies import weight_by_examples as weight_by_examples
    from hedgerow.types import Deployment as Deployment
    from hedgerow.types import Layout as Layout
    from hedgerow.types import LocalTraining as LocalTraining
    from hedgerow.types import Model as Model
    from hedgerow.types import Payload as Payload
    from hedgerow.types import RoundResult as RoundResult
    from hedgerow.types import RunOptions as RunOptions
    from hedgerow.types import Samples as Samples
    from hedgerow.types import ServerState as ServerState


def __getattr__(name: str) -> Any:
    if name not in _PLACE_OF:
        raise AttributeError(f"module 'hedgerow' has no attribute {name!r}")
    try:
        found = globals()[name] = getattr(import_module(_PLACE_OF[name]), name)  # cached for the next access
    except ModuleNotFoundError as error:
        if what := remedy(error):
            raise ModuleNotFoundError(f"hedgerow.{name} needs more: {what}", name=error.name) from error
        raise
    return found


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
