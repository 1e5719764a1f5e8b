"""A client's personal layers: made, trained and kept where its data is, and never sent."""

import logging
from functools import cached_property
from typing import final

import numpy as np

from hedgerow import generators
from hedgerow.client.state import ClientState, State
from hedgerow.client.trainer import Trainer
from hedgerow.rng import integer_seed
from hedgerow.strategies.strategy import Strategy
from hedgerow.types import Arrays, Fit, Layout, Model, Vector, hash_constants
from hedgerow.types.split import Split

log = logging.getLogger("hedgerow")

LAYERS = "layers"
"""The part of a client's state that holds its personal layers."""


@final
class PersonalLayers:
    """The personal layers of a strategy's clients; without any, a client's model is what the server sends.

    Args:
        trainer: of the whole model.
        strategy: says which layers are personal.
        initial: the model before the first round; `None` for the one that the trainer makes from
            the run's seed.

    Raises:
        ValueError: when first used, if they do not fit the model (`split_of`).
    """

    def __init__(self, trainer: Trainer, strategy: Strategy, initial: Model | None = None) -> None:
        self._trainer, self._strategy, self._given = trainer, strategy, initial
        self._made: tuple[int, Model] | None = None
        self._start: tuple[int, str, Vector | None] | None = None

    @cached_property
    def split(self) -> Split:
        """How the model is split into what is sent and what stays."""
        return self._strategy.split(self._trainer.layout)

    @cached_property
    def layout(self) -> Layout:
        """The layout of what is sent."""
        return self.split.shared

    def leave(self, fit: Fit, before: State, seed: int) -> tuple[Fit, State]:
        """Split a fit into what is sent and the client's new personal layers, as a part of its state.

        Args:
            fit: of the full model.
            before: the client's state when training began.
            seed: of the run.

        Raises:
            ValueError: the layers would not be finite.
        """
        if not self.split.personal:
            return fit, {}
        own = self.split.own_after(self._own(before, seed), fit)
        if not (np.isfinite(own.parameters).all() and np.isfinite(own.buffers).all()):
            raise ValueError("training made the personal layers infinite or NaN; they stay as they were")
        return self.split.shared_fit(fit), {LAYERS: {"parameters": own.parameters, "buffers": own.buffers}}

    def whole(self, model: Model, state: State, seed: int) -> Model:
        """A client's full model: what the server has sent, with the client's personal layers.

        Args:
            model: what the server sent.
            state: the client's; `{}` for one that has not trained yet.
            seed: of the run.

        Raises:
            ValueError: the layers that the client has kept belong to another model.
        """
        return self.split.join(model, self._own(state, seed)) if self.split.personal else model

    def spread(self, correction: Vector) -> Vector:
        """Extend a correction of the sent parameters to the full model, with zeros for personal layers."""
        return self.split.spread(correction)

    def start(self, seed: int, named: str) -> Vector | None:
        """The sent parameters of the model before the first round, if the client has or makes those.

        Args:
            seed: of the run.
            named: their hash, 64 hex digits.

        Returns:
            `(d,) float32`; `None` if they have another hash, or the trainer makes no model.
        """
        if self._start is None or self._start[0] != seed:
            try:
                found = self.split.shared_part(self._given or self._new(seed)).parameters
                self._start = seed, hash_constants(found), found
            except Exception as error:  # graphs hold no values, and a trainer of one's own may fail
                log.info("the model before the first round is not made here: %s", error)
                self._start = seed, "", None
        return self._start[2] if self._start[1] == named else None

    def _own(self, state: State, seed: int) -> Model:
        """The client's personal layers; initially those of the initial model."""
        first, kept = self._first(seed), state.get(LAYERS)
        if kept is None:
            return first
        _check(kept, first)
        return Model(kept["parameters"], kept["buffers"])

    def _first(self, seed: int) -> Model:
        if self._made is None or self._made[0] != seed:
            self._made = seed, self.split.own_part(self._given or self._new(seed))
        return self._made[1]

    def _new(self, seed: int) -> Model:
        with generators.seeded(integer_seed(seed, "initial model")):
            return self._trainer.initial(seed)


def personal_model(
    layers: PersonalLayers, store: ClientState, model: Model, *, seed: int, round: int
) -> Model:
    """A client's full model, from its stored state.

    Args:
        layers: of the strategy.
        store: holds the client's state.
        model: what the server sent.
        seed: of the run.
        round: take the layers from before this round.

    Raises:
        ValueError: the layers that the client has kept belong to another model.
    """
    return layers.whole(model, store.load(round) if layers.split.personal else {}, seed)


def _check(kept: Arrays, first: Model) -> None:
    for name, values in (("parameters", first.parameters), ("buffers", first.buffers)):
        if name not in kept or kept[name].shape != values.shape:
            shape = kept[name].shape if name in kept else "none"
            raise ValueError(
                f"the client's own layers have {name} {shape}, the model has personal ones {values.shape}:"
                " the model has changed since; delete the client's state"
            )
