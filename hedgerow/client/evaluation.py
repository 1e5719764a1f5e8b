"""One client measures the model of a round on the samples that it holds out."""

from hedgerow import generators
from hedgerow.client.data import ClientData, held_out_samples
from hedgerow.client.trainer import Trainer
from hedgerow.rng import integer_seed
from hedgerow.secure.errors import NotMasked
from hedgerow.spans import span
from hedgerow.strategies.measuring import refuse_client_evaluation
from hedgerow.strategies.strategy import Strategy
from hedgerow.types.evaluation import Measured
from hedgerow.wire.messages import TrainRequest


def measure(
    trainer: Trainer,
    data: ClientData,
    strategy: Strategy,
    request: TrainRequest,
    client: str,
    *,
    seeded: bool,
) -> Measured:
    """What a client tells of a model.

    Args:
        trainer: of the client.
        data: holds out samples of this client.
        strategy: of the run; one that masks or promises an epsilon has nothing told.
        request: with the model.
        client: its stable name.
        seeded: the global generators follow from the run's seed, as a simulation needs.

    Raises:
        NotMasked: the strategy protects what a client would tell.
        ValueError: the client holds no samples out, or they do not fit the model.
    """
    if refused := refuse_client_evaluation(strategy):
        raise NotMasked(f"the server asks what a model does on this client's samples; {refused}")
    samples = held_out_samples(data, client)
    with span("evaluate"):
        if seeded:
            generators.seed(integer_seed(request.seed, "evaluate", round=request.round, client=client))
        return Measured(len(samples), trainer.evaluate(request.model, samples))
