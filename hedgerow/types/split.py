"""Which tensors of a model travel, and which stay with each client."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from typing import final

import numpy as np
from numpy.typing import NDArray

from hedgerow.types.model import Layout, Model, Tensor, Vector
from hedgerow.types.training import Fit

NORMS = "norms"
"""In place of a name: the parameters and statistics of all norm layers."""

_LAST = re.compile(r"last\(([1-9]\d*)\)")


@final
@dataclass(frozen=True)
class Split:
    """A model in two parts: what travels, and what each client keeps to itself.

    Attributes:
        whole: layout of the model.
        personal: names of the tensors that stay with the client.

    >>> layout = Layout((Tensor("body", (2,)), Tensor("head", (1,))))
    >>> split = Split(layout, frozenset({"head"}))
    >>> split.shared.dimension, split.shared_part(Model(np.array([1, 2, 3], np.float32))).parameters
    (2, array([1., 2.], dtype=float32))
    """

    whole: Layout
    personal: frozenset[str]

    @cached_property
    def shared(self) -> Layout:
        """Layout of what travels."""
        return self.whole.select(lambda name: name not in self.personal)

    @cached_property
    def own(self) -> Layout:
        """Layout of what stays."""
        return self.whole.select(lambda name: name in self.personal)

    def shared_part(self, model: Model) -> Model:
        """The part of a whole model that travels."""
        return self._part(model, stays=False)

    def own_part(self, model: Model) -> Model:
        """The part of a whole model that stays."""
        return self._part(model, stays=True)

    def join(self, shared: Model, own: Model) -> Model:
        """The whole model of a shared part and an own one."""
        return Model(*(
            _joined(mask, here, there)
            for mask, here, there in zip(self._masks, _vectors(own), _vectors(shared), strict=True)
        ))  # fmt: skip

    def shared_fit(self, fit: Fit) -> Fit:
        """What training gave, without what stays."""
        parameters, buffers, _ = self._masks
        return replace(fit, delta=_taken(~parameters, fit.delta), buffers=_taken(~buffers, fit.buffers))

    def own_after(self, own: Model, fit: Fit) -> Model:
        """The own part after training; its constants are as they were."""
        parameters, buffers, _ = self._masks
        moved = own.parameters + _taken(parameters, fit.delta)
        return replace(own, parameters=moved, buffers=_taken(buffers, fit.buffers))

    def spread(self, vector: Vector) -> Vector:
        """A vector over the parameters that travel, `(d,)`, over all of them, with zeros."""
        mask = self._masks[0]
        return _joined(mask, np.zeros(int(mask.sum()), np.float32), vector)

    @cached_property
    def _masks(self) -> tuple[NDArray[np.bool_], ...]:
        """For parameters, buffers and constants: which values stay."""
        layout = self.whole
        return tuple(self._mask(tensors) for tensors in (layout.parameters, layout.buffers, layout.constants))

    def _mask(self, tensors: Sequence[Tensor]) -> NDArray[np.bool_]:
        stays = np.array([t.name in self.personal for t in tensors], np.bool_)
        return np.repeat(stays, [t.size for t in tensors])

    def _part(self, model: Model, *, stays: bool) -> Model:
        return Model(*(
            _taken(mask == stays, values) for mask, values in zip(self._masks, _vectors(model), strict=True)
        ))  # fmt: skip


def split_of(layout: Layout, personal: Sequence[str]) -> Split:
    """Split a model by what is personal.

    Args:
        layout: of the whole model.
        personal: how names of tensors begin (`"head."`, and `*` for anything between: `"block.*.norm"`);
            `"norms"`, all norm layers; or `"last(2)"`, the last two layers that are trained.

    Raises:
        ValueError: one of these fits nothing, or nothing that is trained would travel.

    >>> split_of(Layout((Tensor("0.weight", (2,)), Tensor("2.weight", (1,)))), ["last(1)"]).own.parameters
    (Tensor(name='2.weight', shape=(1,)),)
    """
    found: set[str] = set()
    for pattern in personal:
        fitting = _fitting(layout, pattern)
        if not fitting:
            names = ", ".join(repr(t.name) for t in (*layout.parameters, *layout.untrained))
            what = "has no norm layer" if pattern == NORMS else f"has {names}"
            raise ValueError(
                f"personal has {pattern!r}, which fits nothing: the model {what}; name how tensors begin,"
                " such as 'head.', or take 'last(1)'"
            )
        found |= fitting
    split = Split(layout, frozenset(found))
    if not split.shared.dimension:
        raise ValueError(
            f"personal is {list(personal)}, which is all that the model trains: nothing would be learned"
            " together; leave a layer out"
        )
    return split


def _fitting(layout: Layout, pattern: str) -> set[str]:
    names = [t.name for t in (*layout.parameters, *layout.untrained)]
    if pattern == NORMS:
        return set(layout.norms)
    if last := _LAST.fullmatch(pattern):
        layers = list(dict.fromkeys(_layer(t.name) for t in layout.parameters))[-int(last[1]) :]
        return {name for name in names if _layer(name) in layers}
    return {name for name in names if fnmatchcase(name, f"{pattern}*")}


def _layer(name: str) -> str:
    return name.rpartition(".")[0]


def _vectors(model: Model) -> tuple[Vector, Vector, Vector]:
    return model.parameters, model.buffers, model.constants


def _taken(wanted: NDArray[np.bool_], values: Vector) -> Vector:
    # What is all there is not copied: constants may be large, and are known by their identity.
    return values if wanted.all() else values[wanted]


def _joined(mask: NDArray[np.bool_], own: Vector, shared: Vector) -> Vector:
    if not mask.any():
        return shared
    whole = np.empty(len(mask), np.float32)
    whole[mask], whole[~mask] = own, shared
    return whole
