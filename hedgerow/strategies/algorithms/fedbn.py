"""FedBN: normalisation layers stay on each client, the other layers are shared.

Li et al. 2021 (arXiv:2102.07623, algorithm 1).
"""

from typing import Unpack

from hedgerow import checks
from hedgerow.strategies import server_update
from hedgerow.strategies.origin import described
from hedgerow.strategies.parts import Parts, assemble
from hedgerow.strategies.personal import NORMS, patterns_of
from hedgerow.strategies.strategy import Strategy


@checks.arguments
@described
def fedbn(**parts: Unpack[Parts]) -> Strategy:
    """FedBN, Li et al. 2021 (arXiv:2102.07623, algorithm 1): FedAvg without the normalisation layers.

    Each client keeps scale, shift and running statistics of all its normalisation layers.
    `personal=("head.",)` keeps further layers personal.

    >>> fedbn().personal
    ('norms',)
    """
    others = patterns_of(parts.get("personal", ()))
    personal = (NORMS, *(pattern for pattern in others if pattern != NORMS))
    return assemble("fedbn", server_update.sgd(1.0), {**parts, "personal": personal})
