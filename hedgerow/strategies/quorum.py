"""How many replies must count: a fraction, set by the strategy, and a number, set on the server."""

from hedgerow.strategies.strategy import Strategy


def refuse_quorum(strategy: Strategy, quorum: int) -> str:
    """Why a minimum number of replies does not fit a strategy; an empty string if it does.

    >>> from hedgerow.strategies import fedavg, secure_fedavg
    >>> refuse_quorum(fedavg(), 3), refuse_quorum(secure_fedavg(), 8)
    ('', '')
    >>> refuse_quorum(secure_fedavg(), 3)
    'under the mask of secure_fedavg 7 of 10 must remain for a sum; give 7 or more, or leave it out'
    """
    if quorum <= 1:
        return ""
    if strategy.private:
        return (
            f"a quorum would reveal how many clients took part, and {strategy.name} is private: leave it out;"
            " a private round always counts"
        )
    secure = strategy.pipeline.protection.secure
    if secure is not None and quorum < (needed := secure.plan(secure.min_clients).survivors):
        return (
            f"under the mask of {strategy.name} {needed} of {secure.min_clients} must remain for a sum; give"
            f" {needed} or more, or leave it out"
        )
    return ""
