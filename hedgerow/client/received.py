"""The model of a request, with what a client has of it: constants, and a base that payloads are added to."""

import logging
from dataclasses import replace

from hedgerow.client.client_round import ClientConfig
from hedgerow.client.constants import (
    KeptVectors,
    LacksConstants,
    completed,
    kept_constants,
    kept_models,
)
from hedgerow.client.state import StateStore
from hedgerow.secure.errors import Refused
from hedgerow.spans import span
from hedgerow.strategies.downlink import MOST_MISSED, decode_down, follows, is_plain
from hedgerow.types import PayloadError, Vector, hash_constants
from hedgerow.wire.messages import Coded, TrainRequest

log = logging.getLogger("hedgerow")


class LacksBase(Refused):
    """This device does not have the model that this one is a change of; it has to be sent it."""

    level = logging.INFO  # as `LacksConstants`


class LacksBoth(Refused):
    """This device has neither the model's constants nor the model that this one is a change of."""

    level = logging.INFO


def received(config: ClientConfig, store: StateStore, request: TrainRequest) -> TrainRequest:
    """The request with the whole model, as it is to be trained.

    Raises:
        LacksConstants, LacksBase, LacksBoth: the client has to be sent that of the model.
        PayloadError: what was sent does not have the hash that the request names, or the client's strategy
            sends models otherwise.
    """
    coded = request.coded
    base = None if coded is None else _base(config, kept_models(store), request, coded)
    try:
        request = completed(request, config.layers.layout, kept_constants(store))
    except LacksConstants:
        if coded is not None and base is None:
            raise LacksBoth(
                "neither constants nor base of the model are here; they have to be sent"
            ) from None
        raise
    if coded is None:
        return request
    if base is None:
        raise LacksBase(f"the model {coded.base.hex()[:12]} is not here; it has to be sent")
    model = _decoded(config, request, coded, base)
    if follows(config.strategy.downlink) and coded.model != coded.base:
        _keep(kept_models(store), coded.model.hex(), model)
    return replace(request, model=replace(request.model, parameters=model), coded=None)


def _base(config: ClientConfig, kept: KeptVectors, request: TrainRequest, coded: Coded) -> Vector | None:
    """The parameters that the payloads are added to; `None` if the client has to be sent them."""
    named, sent = coded.base.hex(), request.model.parameters
    if is_plain(config.strategy.downlink):
        raise PayloadError(
            "the server sends its model as a change of another one, and this client's strategy has no"
            " downlink; both must be started from the same configuration"
        )
    if len(sent):
        if hash_constants(sent) != named:
            raise PayloadError("the parameters do not have the hash that the request names as their base")
        _keep(kept, named, sent)
        return sent
    found = kept.load(named)
    if found is None:
        found = config.layers.start(request.seed, named)
    return found if found is not None and found.shape == (config.layers.layout.dimension,) else None


def _decoded(config: ClientConfig, request: TrainRequest, coded: Coded, base: Vector) -> Vector:
    if len(coded.payloads) > MOST_MISSED:
        raise PayloadError(f"there are {len(coded.payloads)} payloads; at most {MOST_MISSED} are decoded")
    model, layout = base, config.layers.layout
    with span("records"):
        for number, arrays in coded.payloads.items():
            model = decode_down(
                config.strategy.downlink, arrays, model, seed=request.seed, number=number, layout=layout
            )
        if hash_constants(model) != coded.model.hex():
            raise PayloadError(
                f"the model of round {request.round} is another one here than on the server: its payloads"
                " were changed on the way, or this device computes otherwise"
            )
    return model


def _keep(kept: KeptVectors, named: str, parameters: Vector) -> None:
    try:
        kept.save(named, parameters)
    except OSError as error:
        log.warning("the model is not kept: %s; it will have to be sent again", error)
