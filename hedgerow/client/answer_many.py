"""Several clients' answers to one request, where the trainer trains them together: for a simulation."""

from collections.abc import Callable, Iterator, Sequence

from hedgerow.client.answer import in_the_clear
from hedgerow.client.capabilities import trains_many
from hedgerow.client.client_round import ClientConfig, ClientRound, LocalClient
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
    trainer, strategy, masked = config.trainer, config.strategy, config.strategy.pipeline.sum_only
    assert trains_many(trainer)
    client_rounds: dict[str, tuple[int, ClientRound]] = {}
    corrections: dict[str, Vector] = {}
    samples: list[tuple[str, Samples]] = []
    for position, client in enumerate(clients):
        try:
            client_round = ClientRound(config, client(), request)
            name, own = client_round.client, client_round.samples()
            if name in client_rounds:
                raise ValueError(f"two nodes say that they are client {name!r}; each must be its own")
            if correction := client_round.correction():
                corrections[name] = correction["correction"]
        except Exception as error:  # what the data's loader raises: that client's, and not the others'
            yield position, error
            continue
        client_rounds[name] = position, client_round
        samples.append((name, own))
    extra = {"corrections": corrections} if corrections else {}
    fits = trainer.fit_many(
        request.model, samples, strategy.local, seed=request.seed, round=request.round, **extra
    )
    for name, fit in spanned("train", fits):
        position, client_round = client_rounds.pop(name)  # with what it has read of the client's state
        fit = client_round.hidden(fit) if config.hides_failures else fit
        if isinstance(fit, Exception):
            yield position, fit
            continue
        try:
            yield position, in_the_clear(client_round, fit) if masked else client_round.reply(fit)
        except Exception as error:  # whatever a plug-in's encode raises
            yield position, error
