"""When clients may tell how well a model does on their own samples."""

from hedgerow.strategies.conditions import excludes, within
from hedgerow.strategies.strategy import Strategy


def refuse_client_evaluation(strategy: Strategy) -> str:
    """Why clients must not measure models beside a strategy; an empty text where they may.

    What a client measures is told in the clear, with its number of held-out
    samples: it says more of the client than a masked or noised update does.

    >>> from hedgerow.strategies import fedavg, secure_fedavg
    >>> refuse_client_evaluation(fedavg())
    ''
    >>> refuse_client_evaluation(secure_fedavg(clip_norm=1.0))[:26]
    'it must be left out: chain'
    """
    whys = (condition.why_broken(strategy) for condition in _TOLD)
    return next((why for why in whys if why), "")


_TOLD = within(
    "it must be left out",
    excludes(
        "mask",
        reason="{pipeline.name} shows the server nothing but a sum, and what a client measures on its own"
        " samples would be shown without a mask",
    ),
    excludes(
        *("noise", "discrete noise"),
        reason="{name} promises an epsilon of each client, and what a client measures on its own samples"
        " would be told without noise",
    ),
    excludes(
        "sample_noise",
        reason="sample_noise promises an epsilon of each sample, and what a client measures on its own"
        " samples would be told without noise",
    ),
)
