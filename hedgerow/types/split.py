"""Which tensors of a model are sent, and which stay with each client."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self, final

import numpy as np

from hedgerow.types.model import Layout, Model, Tensor, Vector
from hedgerow.types.training import Fit


@final
@dataclass(frozen=True)
class Split:
    """A model in two parts: the shared part, which is sent, and the personal part, which each client keeps.

    Attributes:
        whole: layout of the model.
        personal: names of the tensors that stay with the client. Constants, which are not trained,
            are never among them.

    >>> layout = Layout((Tensor("body", (2,)), Tensor("head", (1,))))
    >>> split = Split(layout, frozenset({"head"}))
    >>> split.shared.dimension, split.shared_part(Model(np.array([1, 2, 3], np.float32))).parameters
    (2, array([1., 2.], dtype=float32))
    """

    whole: Layout
    personal: frozenset[str]

    @cached_property
    def shared(self) -> Layout:
        """Layout of the shared part."""
        return self.whole.select(lambda name: name not in self.personal)

    @cached_property
    def own(self) -> Layout:
        """Layout of the personal part."""
        return self.whole.select(lambda name: name in self.personal)

    def shared_part(self, model: Model) -> Model:
        """The shared part of a whole model."""
        parameters, buffers = self._cuts
        return Model(
            parameters.shared_of(model.parameters), buffers.shared_of(model.buffers), model.constants
        )

    def own_part(self, model: Model) -> Model:
        """The personal part of a whole model."""
        parameters, buffers = self._cuts
        return Model(parameters.own_of(model.parameters), buffers.own_of(model.buffers))

    def join(self, shared: Model, own: Model) -> Model:
        """The whole model, from a shared part and a personal one."""
        parameters, buffers = self._cuts
        return Model(
            parameters.join(own.parameters, shared.parameters),
            buffers.join(own.buffers, shared.buffers),
            shared.constants,
        )

    def shared_fit(self, fit: Fit) -> Fit:
        """The shared part of a fit."""
        parameters, buffers = self._cuts
        return replace(fit, delta=parameters.shared_of(fit.delta), buffers=buffers.shared_of(fit.buffers))

    def own_after(self, own: Model, fit: Fit) -> Model:
        """The personal part after training."""
        parameters, buffers = self._cuts
        return Model(own.parameters + parameters.own_of(fit.delta), buffers.own_of(fit.buffers))

    def spread(self, vector: Vector) -> Vector:
        """Extend a vector over the shared parameters, `(d,)`, to all parameters, with zeros."""
        parameters, _ = self._cuts
        return parameters.join(np.zeros(self.own.dimension, np.float32), vector)

    @cached_property
    def _cuts(self) -> tuple["_Cut", "_Cut"]:
        """The cuts of the parameters and of the buffers."""
        layout = self.whole
        return _Cut.of(layout.parameters, self.personal), _Cut.of(layout.buffers, self.personal)


@dataclass(frozen=True)
class _Cut:
    """Slices of a vector's personal values, and of its shared ones, as few as possible."""

    own: tuple[slice, ...]
    shared: tuple[slice, ...]

    @classmethod
    def of(cls, tensors: Sequence[Tensor], personal: frozenset[str]) -> Self:
        runs: dict[bool, list[slice]] = {True: [], False: []}
        end = 0
        for tensor in tensors:
            start, end = end, end + tensor.size
            kind = runs[tensor.name in personal]
            if kind and kind[-1].stop == start:
                start = kind.pop().start
            kind.append(slice(start, end))
        return cls(tuple(runs[True]), tuple(runs[False]))

    def own_of(self, values: Vector) -> Vector:
        return _taken(values, self.own)

    def shared_of(self, values: Vector) -> Vector:
        return _taken(values, self.shared) if self.own else values

    def join(self, own: Vector, shared: Vector) -> Vector:
        if not self.own:
            return shared
        whole = np.empty(len(own) + len(shared), np.float32)
        for runs, values in ((self.own, own), (self.shared, shared)):
            start = 0
            for run in runs:
                end = start + run.stop - run.start
                whole[run], start = values[start:end], end
        return whole


def _taken(values: Vector, runs: Sequence[slice]) -> Vector:
    return np.concatenate([values[:0], *(values[run] for run in runs)])
