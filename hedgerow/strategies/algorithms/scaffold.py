"""SCAFFOLD's control variates, which keep local steps from drifting apart (arXiv:1910.06378, algorithm 1).

Client `i` keeps `c_i`, an estimate of its own gradient; the server keeps `c`,
their mean. Every local step uses `g - c_i + c`: near the global optimum this is
close to zero on every client, however different their data are.
"""

from typing import Unpack

import numpy as np

from hedgerow import checks
from hedgerow.strategies import server_update
from hedgerow.strategies.conditions import Condition, excludes, needs, within
from hedgerow.strategies.origin import described
from hedgerow.strategies.parts import Unweighted, assemble
from hedgerow.strategies.strategy import Strategy
from hedgerow.strategies.streams import Before, LocalRound, Stream, Totals
from hedgerow.types import Arrays, Vector

_OWN, _COUNTED, _ROUND = "own", "counted", "round"


@checks.arguments
@described
def scaffold(
    server_learning_rate: float = 1.0, weighted: bool = False, **parts: Unpack[Unweighted]
) -> Strategy:
    """SCAFFOLD, Karimireddy et al. 2020 (arXiv:1910.06378, algorithm 1, option II).

    Control variates correct the drift of local steps on clients with different
    data. Each request and each reply is as long as two models. All clients count
    the same, as in the paper: `weighted=True` is refused.

    >>> scaffold(server_learning_rate=0.5).server_update.name
    'sgd(0.5)'
    """
    checks.positive(server_learning_rate=server_learning_rate)
    update = server_update.sgd(server_learning_rate)
    return assemble("scaffold", update, {**parts, "weighted": weighted}, streams=(control_variates(),))


def control_variates() -> Stream:
    """The stream of control variates: the server sends its own with the model, a client returns its change.

    The server also says whose last change did not count, and since when; that
    client then sends its change since the one that did. The server's variate thus
    stays the mean of the clients', whatever replies are lost.

    >>> control_variates().name
    'control'
    """
    return Stream(
        "control",
        size=lambda layout: layout.dimension,
        encode=_advance,
        update=_moved,
        weighted=False,
        correction=_correction,
        confirmed=True,
        conditions=_conditions(),
    )


def _correction(before: Before) -> Vector:
    """What is added to each gradient of a client: `c - c_i`, `(d,) float32`; `c_i` starts as zeros."""
    server, state = before.server, before.state
    own = state.get(_OWN, np.zeros_like(server))
    if own.shape != server.shape:
        raise ValueError(
            f"the client's control variate has shape {own.shape}, the server's has {server.shape}:"
            " the model has changed since; delete the client's state"
        )
    return server - own


def _advance(local: LocalRound) -> tuple[Vector, Arrays]:
    """A client's change, by option II: `c_i - c + (x - y) / (K * learning_rate)` is its next control variate.

    It is the mean of the gradients of the `K` local steps. The client sends the change since the
    one that the server counted last; it keeps the next one, the one counted last, and the round.
    """
    server, state = local.server, local.state
    own = state.get(_OWN, np.zeros_like(server))
    lost = 0 < local.uncounted_since <= int(state.get(_ROUND, np.zeros(1))[0])
    counted = state[_COUNTED] if lost else own
    new = own - server - local.fit.delta / np.float32(local.steps * local.learning_rate)
    return new - counted, {_OWN: new, _COUNTED: counted, _ROUND: np.array([local.context.round])}


def _moved(server: Vector, mean: Vector, totals: Totals) -> Vector:
    """The server's next control variate: `c + counted / clients * mean`, over all available clients."""
    return (server + np.float64(totals.counted / totals.clients) * mean).astype(np.float32)


def _conditions() -> tuple[Condition, ...]:
    not_gradients = (
        "they are means of the local gradients, which follow from the model's change only for plain SGD;"
        " use optimizer 'sgd' without momentum"
    )
    return within(
        "control variates do not fit here",
        needs("sgd", reason=not_gradients),
        excludes("momentum", reason=not_gradients),
        excludes(
            "proximal",
            reason="they would mistake the proximal term's gradient for the data's; leave out proximal",
        ),
        excludes(
            "weight",
            reason="the server's variate is the unweighted mean over all clients; use weighted=False",
        ),
        excludes(
            *("noise", "discrete noise", "mask"),
            reason="they would be sent in the clear, next to what {pipeline.name} protects;"
            " use another strategy, such as fedavg",
        ),
        needs(
            "linear",
            reason="they are averaged, which admits outliers that {aggregate.name} keeps out; use mean()",
        ),
        excludes(
            "max_norm", reason="max_norm bounds only the delta, but they move the model too; leave it out"
        ),
    )
