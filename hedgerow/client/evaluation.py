"""One client evaluates a round's model on the samples that it holds out."""

from functools import partial

from hedgerow import generators
from hedgerow.client.client_round import ClientConfig, LocalClient
from hedgerow.client.data import HoldsNothingOut
from hedgerow.client.personal import personal_model
from hedgerow.client.secure.summand import Summand
from hedgerow.ring.vector import RingVector, Shape, open_payload
from hedgerow.rng import integer_seed
from hedgerow.secure.errors import NotMasked
from hedgerow.secure.messages import EVALUATE
from hedgerow.spans import span
from hedgerow.strategies.measuring import (
    NOTHING,
    measured_shape,
    measured_vector,
    refuse_client_evaluation,
    refuse_evaluation,
)
from hedgerow.types.evaluation import Measured
from hedgerow.wire.content import Content
from hedgerow.wire.evaluation import pack_evaluation
from hedgerow.wire.messages import TrainRequest, pack_vector


def evaluated(config: ClientConfig, client: LocalClient, request: TrainRequest) -> Content:
    """The answer of a client that is asked what a model does on its samples, and that alone.

    Raises:
        NotMasked: the strategy protects what the evaluation would reveal.
        ValueError: the client holds no samples out, or they do not fit the model.
    """
    if config.unmasked and config.strategy.pipeline.sum_only:
        refuse(config)
        asked = summand(config, client)
        shape = asked.shape(request.clients)
        return pack_vector(open_payload(asked.vector(request, shape), shape), b"")
    if refused := refuse_client_evaluation(config.strategy):
        raise NotMasked(f"the server asks how a model does on this client's samples; {refused}")
    return pack_evaluation(measure(config, client, request), round=request.round, client=client.name)


def refuse(config: ClientConfig) -> None:
    """Raise `NotMasked` if clients must not report evaluations, not even under a mask."""
    if refused := refuse_evaluation(config.strategy):
        raise NotMasked(f"the server asks how a model does on the clients' samples; {refused}")


def measure(config: ClientConfig, client: LocalClient, request: TrainRequest) -> Measured:
    """Evaluate a model on a client's held-out samples, with the client's own layers if it has any.

    Args:
        config: with the strategy and the trainer.
        client: holds samples out.
        request: with the model.

    Raises:
        ValueError: the client holds no samples out, or they do not fit the model.
    """
    assert client.held_out is not None
    samples = client.held_out()
    # What the client has of the round that made the model is before the next one.
    seed, round = request.seed, request.round
    model = personal_model(config.layers, client.store.rounds, request.model, seed=seed, round=round + 1)
    with span("evaluate"):
        if config.seeded_noise:
            generators.seed(integer_seed(seed, "evaluate", round=round, client=client.name))
        return Measured(len(samples), config.trainer.evaluate(model, samples))


def summand(config: ClientConfig, client: LocalClient) -> Summand:
    """What a client adds to the sum of what a cohort measures: nothing where it holds no samples out."""
    secure = config.strategy.pipeline.protection.secure
    assert secure is not None

    def vector(request: TrainRequest, shape: Shape) -> RingVector:
        try:
            measured = measure(config, client, request)
        except HoldsNothingOut:  # to leave the cohort would tell that
            measured = NOTHING
        return measured_vector(measured, shape)

    return Summand(EVALUATE, partial(measured_shape, secure), vector)
