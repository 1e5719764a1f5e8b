"""SCAFFOLD's control variates: what keeps local steps from drifting apart (arXiv:1910.06378, algorithm 1).

Client `i` keeps `c_i`, an estimate of its own gradient; the server keeps `c`,
their mean. Every local step uses `g - c_i + c`: near the optimum of all
clients it is near zero on each, however unlike their data are.
"""

from collections.abc import Mapping

import numpy as np

from hedgerow.strategies.aggregates.mean import Aggregate
from hedgerow.strategies.pipeline.transform import Transform
from hedgerow.types import Arrays, LocalTraining, Vector

_OWN, _COUNTED, _ROUND = "control.own", "control.counted", "control.round"
STATE = frozenset({_OWN, _COUNTED, _ROUND})
"""Names that a client's control variate has in its state."""


def correction(server: Vector, state: Arrays) -> Vector:
    """What is added to each gradient of a client: `c - c_i`, `(d,) float32`; a fresh client's `c_i` is zeros.

    Raises:
        ValueError: the client's control variate is of another model.
    """
    own = state.get(_OWN, np.zeros_like(server))
    if own.shape != server.shape:
        raise ValueError(
            f"the client's control variate has shape {own.shape}, the server's has {server.shape}:"
            " the model has changed since; delete the client's state"
        )
    return server - own


def advance(
    server: Vector,
    state: Arrays,
    delta: Vector,
    *,
    steps: int,
    learning_rate: float,
    round: int,
    uncounted_since: int = 0,
) -> tuple[Vector, Arrays]:
    """A client's next control variate, by option II: `c_i - c + (x - y) / (K * learning_rate)`.

    It is the mean of the gradients of the `K` local steps.

    Args:
        server: `c`.
        state: of the client, before the round.
        delta: `y - x`, the change of the model, before it is compressed.
        steps: `K`.
        learning_rate: of these steps.
        round: number of the round.
        uncounted_since: the first round whose answer the server did not count,
            with none counted since; 0 where the last one counted.

    Returns:
        What is sent, the change since the control variate that the server has
        counted last; and the new state: the control variate, the one counted
        last, and the round. The server's mean so stays the mean of the
        clients' also where replies are lost.

    >>> sent, state = advance(np.zeros(1, np.float32), {}, np.ones(1, np.float32),
    ...                       steps=2, learning_rate=0.5, round=1)
    >>> sent.tolist()
    [-1.0]
    """
    own = state.get(_OWN, np.zeros_like(server))
    lost = 0 < uncounted_since <= int(state.get(_ROUND, np.zeros(1))[0])
    counted = state[_COUNTED] if lost else own
    new = own - server - delta / np.float32(steps * learning_rate)
    return new - counted, {_OWN: new, _COUNTED: counted, _ROUND: np.array([round])}


def moved(server: Vector, mean: Vector, counted: int, clients: int) -> Vector:
    """The server's next control variate: `c + counted / clients * mean`, over all clients there are."""
    return (server + np.float64(counted / clients) * mean).astype(np.float32)


def uncounted(
    before: Mapping[str, int], cohort: tuple[str, ...], lost: frozenset[str], round: int
) -> dict[str, int]:
    """Since which round each client's answers have not been counted; the others are not named.

    >>> uncounted({"a": 3, "b": 2}, ("a", "b", "c"), frozenset("bc"), 7)
    {'b': 2, 'c': 7}
    """
    others = {name: since for name, since in before.items() if name not in cohort}
    return others | {name: before.get(name, round) for name in cohort if name in lost}


def refuse(local: LocalTraining, pipeline: Transform, aggregate: Aggregate, max_norm: float | None) -> None:
    """Raise `ValueError`, with a remedy, where control variates make no sense beside the other parts."""
    reason = ""
    if local.optimizer != "sgd" or local.momentum:
        reason = (
            "they are the mean of the local gradients, which shows in the model's change for plain SGD only;"
            " take optimizer 'sgd' without momentum"
        )
    elif local.proximal:
        reason = "they would hold the proximal term's pull as if it were the data's; leave out proximal"
    elif "weight" in pipeline.kinds:
        reason = "the server's is the mean of all clients', each counted once; take weighted=False"
    elif {"noise", "discrete noise", "mask"} & set(pipeline.kinds):
        reason = (
            f"they would be sent in the open beside what {pipeline.name} protects;"
            " take another strategy, such as fedavg"
        )
    elif not aggregate.linear:
        reason = f"they are averaged, which lets in what {aggregate.name} keeps out; take mean()"
    elif max_norm is not None:
        reason = "max_norm bounds the delta only, and they move the model as well; leave it out"
    if reason:
        raise ValueError(f"control variates do not fit here: {reason}")
