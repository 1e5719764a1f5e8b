"""When clients may report how well a model does on their own samples."""

from hedgerow.strategies.conditions import excludes, within
from hedgerow.strategies.strategy import Strategy


def refuse_client_evaluation(strategy: Strategy) -> str:
    """Why clients must not evaluate models under a strategy; an empty string if they may.

    A client reports its metrics in the clear, with its number of held-out
    samples: they reveal more about the client than a masked or noisy update.

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
        reason="{pipeline.name} shows the server only a sum, and the metrics of each client's own samples"
        " would be sent without a mask",
    ),
    excludes(
        *("noise", "discrete noise"),
        reason="{name} promises an epsilon for each client, and the metrics of its own samples would be"
        " sent without noise",
    ),
    excludes(
        "sample_noise",
        reason="sample_noise promises an epsilon for each sample, and the metrics of a client's own samples"
        " would be sent without noise",
    ),
)
