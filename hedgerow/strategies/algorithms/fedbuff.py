"""FedBuff: asynchronous federated averaging with a buffer."""

from dataclasses import replace
from typing import Unpack

from hedgerow import checks
from hedgerow.strategies.arrivals import STALENESS, Arrivals
from hedgerow.strategies.origin import described
from hedgerow.strategies.parts import Parts, assemble
from hedgerow.strategies.pipeline.parse import parse_call
from hedgerow.strategies.server_update import sgd
from hedgerow.strategies.strategy import Strategy


@checks.arguments
@described
def fedbuff(
    buffer: int = 10, server_learning_rate: float = 1.0, staleness: str = "poly(0.5)",
    most_staleness: int = 100, **parts: Unpack[Parts],
) -> Strategy:  # fmt: skip
    """FedBuff, Nguyen et al. 2022 (arXiv:2106.06639, algorithm 1).

    As many clients train at a time as `sampling` has; whenever one answers, another is asked. After `buffer`
    answers that count, the server makes a step with their mean, each delta scaled by its staleness weight:
    `w <- w + server_learning_rate * sum_k n_k s(t_k) delta_k / sum_k n_k`. The paper counts all clients the
    same (`weighted=False`). A client that has answered is not asked again before the next step, and an answer
    staler than `most_staleness` is dropped. Without delays, and with as many clients as the buffer has, this
    is FedAvg, bit for bit.

    Raises:
        ValueError: the pipeline masks or adds noise, or another part needs the cohort of a round.

    >>> fedbuff(buffer=4).arrivals.name
    'arrivals(4, poly(0.5), most=100, models=False)'
    """
    checks.positive(server_learning_rate=server_learning_rate)
    checks.kind(str, ", such as 'poly(0.5)'", staleness=staleness)
    checks.whole(0, most_staleness=most_staleness)
    weight = parse_call(staleness, STALENESS, "staleness", "poly(0.5)")
    made = assemble("fedbuff", sgd(server_learning_rate), parts)
    return replace(made, arrivals=Arrivals(buffer, weight, most_staleness))
