"""Several clients' answers to one request, where the trainer trains them together: for a simulation."""

from collections.abc import Callable, Iterator, Sequence

from hedgerow.client.answer import in_the_clear
from hedgerow.client.client_round import ClientConfig, ClientRound, LocalClient
from hedgerow.client.data import client_samples
from hedgerow.spans import spanned
from hedgerow.types import Samples, Vector
from hedgerow.wire.content import Content
from hedgerow.wire.messages import TrainRequest
from hedgerow.wire.replies import Reply


def answer_many(
    config: ClientConfig, clients: Sequence[Callable[[], LocalClient]], request: TrainRequest
) -> Iterator[tuple[int, Content | Reply | Exception]]:
    """Train clients together, and answer for each.

    Args:
        clients: each gives the client at that position, or raises why it cannot.
        request: what all are asked.

    Yields:
        `(position, answer)` for each client, in any order: its reply, or with a
        mask the message that holds the sum's part; an exception where the client failed.
    """
    trainer, strategy, masked = config.many, config.strategy, config.strategy.pipeline.sum_only
    assert trainer is not None
    turns: dict[str, tuple[int, ClientRound]] = {}
    corrections: dict[str, Vector] = {}
    samples: list[tuple[str, Samples]] = []
    for position, client in enumerate(clients):
        try:
            here = client()
            turn, name = ClientRound(config, here, request), here.name
            own = client_samples(name, here.samples)
            if name in turns:
                raise ValueError(f"two nodes say that they are client {name!r}; each must be its own")
            if config.corrections:
                corrections[name] = turn.correction()["correction"]
        except Exception as error:  # what the data's loader raises: that client's, and not the others'
            yield position, error
            continue
        turns[name] = position, turn
        samples.append((name, own))
    extra = {"corrections": corrections} if corrections else {}
    fits = trainer.fit_many(
        request.model, samples, strategy.local, seed=request.seed, round=request.round, **extra
    )
    for name, fit in spanned("train", fits):
        position, turn = turns.pop(name)  # with what it has read of the client's state
        fit = turn.hidden(fit) if config.hides_failures else fit
        if isinstance(fit, Exception):
            yield position, fit
            continue
        try:
            yield position, in_the_clear(turn, fit) if masked else turn.reply(fit)
        except Exception as error:  # whatever a plug-in's encode raises
            yield position, error
