"""One client evaluates a round's model on the samples that it holds out."""

from hedgerow import generators
from hedgerow.client.client_round import ClientConfig, LocalClient
from hedgerow.client.data import ClientData, held_out_samples
from hedgerow.client.personal import personal_model
from hedgerow.rng import integer_seed
from hedgerow.secure.errors import NotMasked
from hedgerow.spans import span
from hedgerow.strategies.measuring import refuse_client_evaluation
from hedgerow.types.evaluation import Measured
from hedgerow.wire.messages import TrainRequest


def measure(config: ClientConfig, client: LocalClient, data: ClientData, request: TrainRequest) -> Measured:
    """Evaluate a model on a client's held-out samples, with the client's own layers if it has any.

    Args:
        config: holds the strategy; one that masks or promises an epsilon is refused.
        data: holds out samples of this client.
        request: with the model.

    Raises:
        NotMasked: the strategy protects what the evaluation would reveal.
        ValueError: the client holds no samples out, or they do not fit the model.
    """
    if refused := refuse_client_evaluation(config.strategy):
        raise NotMasked(f"the server asks how a model does on this client's samples; {refused}")
    samples = held_out_samples(data, client.name)
    # The state saved in the round that made the model is the one from before the next round.
    seed, round = request.seed, request.round
    model = personal_model(config.layers, client.store.rounds, request.model, seed=seed, round=round + 1)
    with span("evaluate"):
        if config.seeded_noise:
            generators.seed(integer_seed(seed, "evaluate", round=round, client=client.name))
        return Measured(len(samples), config.trainer.evaluate(model, samples))
