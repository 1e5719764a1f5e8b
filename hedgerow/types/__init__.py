"""Frozen data types shared by all packages. They need only numpy.

A `Model` is what is learned, flattened: a vector of trainable parameters, one of
buffers that training also changes (BatchNorm statistics), and one of constants. A
`Layout` says where each tensor is in these vectors. A `Payload` is what a client sends.
"""

from hedgerow.types.clients import ClientNames, Samples
from hedgerow.types.model import Arrays, Layout, Model, Tensor, Vector, hash_constants
from hedgerow.types.options import Deployment, RunOptions
from hedgerow.types.payload import Client, CohortSum, Payload, PayloadError, RoundContext, Sender, Server
from hedgerow.types.rounds import RoundResult, ServerState
from hedgerow.types.training import FailedFit, Fit, LocalTraining

__all__ = [
    "Arrays", "Client", "ClientNames", "CohortSum", "Deployment", "FailedFit", "Fit", "Layout",
    "LocalTraining", "Model", "Payload", "PayloadError", "RoundContext", "RoundResult", "RunOptions",
    "Samples", "Sender", "Server", "ServerState", "Tensor", "Vector", "hash_constants",
]  # fmt: skip
