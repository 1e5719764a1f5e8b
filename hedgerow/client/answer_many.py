"""The answers of several simulated clients to one request, when the trainer trains them together."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

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
    answer: Callable[[int, ClientRound, Callable[[], Fit]], Answer],
) -> Iterator[tuple[int, Callable[[], Answer]]]:
    """Train clients together, and answer for each.

    Args:
        clients: functions that each return the client at that position, or raise.
        request: the same for all clients.
        answer: `(position, client's round, train) -> answer`; `train()` returns the fit, or raises.

    Yields:
        For each client, in any order, its position and a function that returns its
        answer, or raises the error with which it failed.
    """
    trainer, strategy = config.many, config.strategy
    assert trainer is not None
    client_rounds: dict[str, tuple[int, ClientRound]] = {}
    corrections: dict[str, Vector] = {}
    max_steps: dict[str, int] = {}
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
            if strategy.local.time_budget:
                max_steps[name] = client_round.pace.limit(len(own), _untimed)
        except Exception as error:  # from the data's loader: only that client fails
            yield position, FailedFit(error).or_raise
            continue
        client_rounds[name] = position, client_round
        samples.append((name, own))
    beside = {"corrections": corrections, "max_steps": max_steps}
    extra: dict[str, Any] = {argument: values for argument, values in beside.items() if values}
    fits = trainer.fit_many(
        request.model, samples, strategy.local, seed=request.seed, round=request.round, **extra
    )
    for name, fit in spanned("train", fits):
        position, client_round = client_rounds.pop(name)  # it holds the client state that it has read
        train: Callable[[], Fit] = fit.or_raise
        if strategy.local.time_budget:
            train = partial(client_round.pace.take, _already(train))
        yield position, partial(answer, position, client_round, train)


def _already(fit: Callable[[], Fit]) -> Callable[[int], Fit]:
    return lambda most: fit()


def _untimed(most: int) -> Fit:
    raise ValueError("clients that are trained side by side cannot be timed; train them one by one")
