"""FedDyn: each client's loss is regularised so that their optima agree.

Acar et al. 2021 (arXiv:2111.04263, algorithm 1).

Client `k` keeps `g_k`, the gradient of its own loss at its last result, and the
server keeps `h`, their mean. A client minimises `L_k(w) - <g_k, w> + alpha / 2 |w - w_t|^2`.
"""

from dataclasses import replace
from typing import Unpack

import numpy as np

from hedgerow import checks
from hedgerow.strategies.conditions import Condition, excludes, needs, within
from hedgerow.strategies.origin import described
from hedgerow.strategies.parts import Unweighted, assemble, local_of
from hedgerow.strategies.server_update import ServerUpdate
from hedgerow.strategies.strategy import Strategy
from hedgerow.strategies.streams import Before, LocalRound, Stream, Totals
from hedgerow.types import Arrays, Vector

_OWN, _COUNTED, _ROUND = "own", "counted", "round"


@checks.arguments
@described
def feddyn(alpha: float = 0.01, weighted: bool = False, **parts: Unpack[Unweighted]) -> Strategy:
    """FedDyn, Acar et al. 2021 (arXiv:2111.04263, algorithm 1).

    Nothing is sent in addition to the delta, from which client and server compute
    their states. All clients count the same, as in the paper.

    Raises:
        ValueError: `alpha` is not above 0, or the other parts do not fit.

    >>> strategy = feddyn(0.1)
    >>> strategy.local.proximal, strategy.server_update.name
    (0.1, 'feddyn(0.1)')
    """
    checks.positive(alpha=alpha)
    local = replace(local_of(parts), proximal=alpha)

    def apply(w: Vector, delta: Vector, state: Arrays, totals: Totals) -> tuple[Vector, Arrays]:
        fraction = totals.counted / totals.clients
        h = (state["h"] - np.float64(alpha * fraction) * delta).astype(np.float32)
        return (w + delta - h / np.float32(alpha)).astype(np.float32), {"h": h}

    update = ServerUpdate(f"feddyn({alpha})", lambda d: {"h": np.zeros(d, np.float32)}, apply)
    others: Unweighted = {**parts, "local": local}
    return assemble("feddyn", update, {**others, "weighted": weighted}, streams=(_gradients(alpha),))


def _gradients(alpha: float) -> Stream:
    def encode(local: LocalRound) -> tuple[Vector, Arrays]:
        before = _own(local.state, len(local.fit.delta), local.uncounted_since)
        own = before - np.float32(alpha) * local.fit.delta
        kept = {_OWN: own, _COUNTED: before, _ROUND: np.array([local.context.round])}
        return np.empty(0, np.float32), kept

    def correction(before: Before) -> Vector:
        return -_own(before.state, before.layout.dimension, before.uncounted_since)

    return Stream(
        "gradient",
        size=lambda layout: 0,
        encode=encode,
        update=lambda value, aggregate, totals: value,
        correction=correction,
        confirmed=True,
        sends=False,
        conditions=_conditions(),
    )


def _own(state: Arrays, d: int, uncounted_since: int) -> Vector:
    """`g_k` as the server has counted it: if the last answer did not count, the previous one."""
    if _OWN not in state:
        return np.zeros(d, np.float32)
    lost = 0 < uncounted_since <= int(state[_ROUND][0])
    return np.asarray(state[_COUNTED if lost else _OWN], np.float32)


def _conditions() -> tuple[Condition, ...]:
    return within(
        "feddyn does not fit here",
        needs(
            "sgd", reason="it adds to the gradients, which {local.optimizer} rescales; use optimizer 'sgd'"
        ),
        excludes(
            "weight",
            reason="the server's state is the unweighted mean over all clients; use weighted=False",
        ),
        excludes(
            *("noise", "discrete noise"),
            reason="a client's state affects later rounds, which the ledger does not count; use fedavg",
        ),
    )
