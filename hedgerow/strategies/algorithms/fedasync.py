"""FedAsync: the server mixes in each client's model as it arrives."""

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
def fedasync(
    mixing: float = 0.6, staleness: str = "poly(0.5)", most_staleness: int = 100, **parts: Unpack[Parts]
) -> Strategy:
    """FedAsync, Xie et al. 2019 (arXiv:1903.03934, algorithm 1).

    Each answer makes a step: `w <- (1 - a) w + a w_k`, where `w_k` is the client's model and
    `a = mixing * s(t_k)`. The paper has a proximal term on the clients: `local.proximal`. A client's
    number of samples does not matter, since each step has one client.

    Raises:
        ValueError: the pipeline masks or adds noise, or another part needs the cohort of a round.

    >>> fedasync(0.5, "hinge(10.0, 4)").arrivals.models
    True
    """
    checks.fraction(mixing=mixing)
    checks.kind(str, ", such as 'poly(0.5)'", staleness=staleness)
    checks.whole(0, most_staleness=most_staleness)
    weight = parse_call(staleness, STALENESS, "staleness", "poly(0.5)")
    made = assemble("fedasync", sgd(mixing), parts)
    return replace(made, arrivals=Arrivals(1, weight, most_staleness, models=True))
