"""The computations of a round: sampling, the update pipeline, aggregation, server updates. Pure numpy."""

from hedgerow.strategies.aggregates.base import Aggregate
from hedgerow.strategies.aggregates.geometric_median import geometric_median
from hedgerow.strategies.aggregates.krum import krum
from hedgerow.strategies.aggregates.mean import FixedPointMean, mean
from hedgerow.strategies.aggregates.median import median
from hedgerow.strategies.aggregates.registry import AGGREGATES
from hedgerow.strategies.aggregates.trimmed_mean import trimmed_mean
from hedgerow.strategies.algorithms.fedasync import fedasync
from hedgerow.strategies.algorithms.fedbn import fedbn
from hedgerow.strategies.algorithms.fedbuff import fedbuff
from hedgerow.strategies.algorithms.feddyn import feddyn
from hedgerow.strategies.algorithms.fednova import fednova
from hedgerow.strategies.algorithms.fedper import fedper
from hedgerow.strategies.algorithms.scaffold import scaffold
from hedgerow.strategies.calibration import calibrated
from hedgerow.strategies.pipeline.chain import chain, float32
from hedgerow.strategies.pipeline.coding import check_payload, decode, encode
from hedgerow.strategies.pipeline.parse import TRANSFORMS, parse_aggregate, parse_pipeline
from hedgerow.strategies.pipeline.transform import Transform
from hedgerow.strategies.presets import (
    PRESETS,
    dp_fedavg,
    dp_ftrl,
    fedadagrad,
    fedadam,
    fedavg,
    fedavgm,
    fedprox,
    fedyogi,
    secure_dp_fedavg,
    secure_fedavg,
)
from hedgerow.strategies.sampling import Sampling, cyclic, poisson, uniform
from hedgerow.strategies.server_update import ServerUpdate
from hedgerow.strategies.strategy import Strategy
from hedgerow.strategies.transforms.client_noise import distributed_noise, randomized_round, skellam_noise
from hedgerow.strategies.transforms.clipping import adaptive_clip, clip
from hedgerow.strategies.transforms.compression import quantize, random_k, top_k
from hedgerow.strategies.transforms.eden import drive, eden
from hedgerow.strategies.transforms.entropy import entropy
from hedgerow.strategies.transforms.feedback import error_feedback
from hedgerow.strategies.transforms.mask import mask
from hedgerow.strategies.transforms.noise import banded_noise, gaussian_noise
from hedgerow.strategies.transforms.subspace import subspace
from hedgerow.strategies.transforms.ternary import ternary
from hedgerow.strategies.transforms.weighting import weight_by_examples

__all__ = [
    "AGGREGATES",
    "PRESETS",
    "TRANSFORMS",
    "Aggregate",
    "FixedPointMean",
    "Sampling",
    "ServerUpdate",
    "Strategy",
    "Transform",
    "adaptive_clip",
    "banded_noise",
    "calibrated",
    "chain",
    "check_payload",
    "clip",
    "cyclic",
    "decode",
    "distributed_noise",
    "dp_fedavg",
    "dp_ftrl",
    "drive",
    "eden",
    "encode",
    "entropy",
    "error_feedback",
    "fedadagrad",
    "fedadam",
    "fedasync",
    "fedavg",
    "fedavgm",
    "fedbn",
    "fedbuff",
    "feddyn",
    "fednova",
    "fedper",
    "fedprox",
    "fedyogi",
    "float32",
    "gaussian_noise",
    "geometric_median",
    "krum",
    "mask",
    "mean",
    "median",
    "parse_aggregate",
    "parse_pipeline",
    "poisson",
    "quantize",
    "random_k",
    "randomized_round",
    "scaffold",
    "secure_dp_fedavg",
    "secure_fedavg",
    "skellam_noise",
    "subspace",
    "ternary",
    "top_k",
    "trimmed_mean",
    "uniform",
    "weight_by_examples",
]
