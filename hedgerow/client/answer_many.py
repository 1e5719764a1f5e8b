"""Several clients' answers to one request, where the trainer trains them together: for a simulation."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

from hedgerow.client.client_round import ClientConfig, ClientRound, LocalClient
from hedgerow.client.data import client_samples
from hedgerow.spans import spanned
from hedgerow.types import FailedFit, Fit, Samples, Vector
from hedgerow.wire.messages import TrainRequest

Answer = TypeVar("Answer")


def answer_many(
    config: ClientConfig,
    clients: Sequence[Callable[[], LocalClient]],
    request: TrainRequest,
    answer: Callable[[int, ClientRound, Fit], Answer],
) -> Iterator[tuple[int, Callable[[], Answer]]]:
    """Train clients together, and answer for each.

    Args:
        clients: each gives the client at that position, or raises why it cannot.
        request: what all are asked.
        answer: `(position, client's round, fit) -> answer`.

    Yields:
        For each client, in any order, its position and a function that gives its
        answer, or raises why it failed.
    """
    trainer, strategy = config.many, config.strategy
    assert trainer is not None
    client_rounds: dict[str, tuple[int, ClientRound]] = {}
    corrections: dict[str, Vector] = {}
    samples: list[tuple[str, Samples]] = []
    for position, client in enumerate(clients):
        try:
            here = client()
            client_round, name = ClientRound(config, here, request), here.name
            own = client_samples(name, here.samples)
            if name in client_rounds:
                raise ValueError(f"two nodes say that they are client {name!r}; each must be its own")
            if config.corrections:
                corrections[name] = client_round.correction()["correction"]
        except Exception as error:  # what the data's loader raises: that client's, and not the others'
            yield position, FailedFit(error).or_raise
            continue
        client_rounds[name] = position, client_round
        samples.append((name, own))
    extra = {"corrections": corrections} if corrections else {}
    fits = trainer.fit_many(
        request.model, samples, strategy.local, seed=request.seed, round=request.round, **extra
    )
    for name, fit in spanned("train", fits):
        position, client_round = client_rounds.pop(name)  # with what it has read of the client's state
        yield position, partial(_answered, answer, position, client_round, fit)


def _answered(
    answer: Callable[[int, ClientRound, Fit], Answer],
    position: int,
    client_round: ClientRound,
    fit: Fit | FailedFit,
) -> Answer:
    return answer(position, client_round, client_round.hidden(fit.or_raise))
