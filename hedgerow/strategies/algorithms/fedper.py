"""FedPer: the last layers stay on each client, the other layers are shared.

Arivazhagan et al. 2019 (arXiv:1912.00818, algorithm 1).
"""

from typing import Unpack

from hedgerow import checks
from hedgerow.strategies import server_update
from hedgerow.strategies.origin import described
from hedgerow.strategies.parts import Parts, assemble
from hedgerow.strategies.strategy import Strategy


@checks.arguments
@described
def fedper(layers: int = 1, **parts: Unpack[Parts]) -> Strategy:
    """FedPer, Arivazhagan et al. 2019 (arXiv:1912.00818, algorithm 1): FedAvg without the last layers.

    Args:
        layers: number of last layers that stay on each client (`K_P`), in the order in which the
            model defines them; `personal=("head.",)` names them instead.

    Raises:
        ValueError: both are given, or the parts do not fit together.

    >>> fedper(2).personal, fedper(personal=("head.",)).personal
    (('last(2)',), ('head.',))
    """
    checks.whole(1, layers=layers)
    if layers != 1 and "personal" in parts:
        raise ValueError(f"layers is {layers}, and personal is {parts['personal']}; give one of them")
    return assemble("fedper", server_update.sgd(1.0), {"personal": (f"last({layers})",), **parts})
