"""An algorithm with a stream of one number, which client and server both keep: FedExP, smoothed.

The server's step is as long as the updates are unlike each other (Jhunjhunwala et al. 2023,
arXiv:2301.09604, algorithm 1). Each client here sends its squared norm as a running mean of its own,
and bounds it by four times the server's.
"""

from functools import partial
from typing import Unpack

import numpy as np

from hedgerow import checks
from hedgerow.strategies.origin import described
from hedgerow.strategies.parts import Parts, assemble
from hedgerow.strategies.server_update import ServerUpdate
from hedgerow.strategies.strategy import Strategy
from hedgerow.strategies.streams import LocalRound, Stream, Totals
from hedgerow.types import Arrays, Vector

EPSILON = 1e-3


@described
def smooth_fedexp(decay: float = 0.5, **parts: Unpack[Parts]) -> Strategy:
    """FedExP with squared norms that are smoothed on the clients."""
    checks.probability(decay=decay)
    stream = Stream(
        "energy",
        size=lambda layout: 1,
        encode=partial(_encode, decay),
        update=lambda value, mean, totals: np.float32(decay) * value + np.float32(1 - decay) * mean,
    )
    update = ServerUpdate(f"smooth_fedexp({decay})", lambda d: {"rate": np.zeros(1, np.float32)}, _apply)
    return assemble("smooth_fedexp", update, parts, streams=(stream,))


def _encode(decay: float, local: LocalRound) -> tuple[Vector, Arrays]:
    energy = float(np.square(local.fit.delta, dtype=np.float64).sum())
    if local.server[0] > 0:
        energy = min(energy, 4 * float(local.server[0]))
    before = float(local.state.get("energy", np.array([energy]))[0])
    smoothed = np.array([decay * before + (1 - decay) * energy])
    return smoothed.astype(np.float32), {"energy": smoothed}


def _apply(w: Vector, delta: Vector, state: Arrays, totals: Totals) -> tuple[Vector, Arrays]:
    length = float(np.square(delta, dtype=np.float64).sum())
    exact = max(1.0, float(totals.streams["energy"][0]) / (2 * (length + EPSILON)))
    rate = np.array([max(0.5 * float(state["rate"][0]), exact)], np.float32)
    return w + rate * delta, {"rate": rate}
