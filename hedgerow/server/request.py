"""The request to a cohort: the model, with its constants only for clients that lack them.

A message names the constants by their hash. A client that has them trains; one
that lacks them says so (`LacksConstants`), is sent them in the same round, and
keeps them. The clients of a simulation get them directly, and the count of bytes
includes what a device would have been sent.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property
from typing import final

import numpy as np
from flwr.app import Message, RecordDict

from hedgerow import records
from hedgerow.server.replies import reason
from hedgerow.spans import span
from hedgerow.types import Layout, ServerState, Vector, hash_constants
from hedgerow.wire.arrays import pack_arrays
from hedgerow.wire.content import Array, ArrayRecord, ConfigRecord, Content
from hedgerow.wire.fields import MAIN
from hedgerow.wire.messages import pack_train

_LACKS = "LacksConstants:"
"""Prefix of the error of a client that lacks a model's constants."""


@final
@dataclass
class Constants:
    """A run's constants, hashed and packed once."""

    _values: Vector = field(default_factory=lambda: np.empty(0, np.float32))
    _hash: str = ""

    def hash(self, values: Vector) -> str:
        """Their hash; empty if there are none."""
        self._take(values)
        return self._hash

    def packed(self, values: Vector) -> Array:
        """The values as an array of a message."""
        self._take(values)
        return self._packed

    def _take(self, values: Vector) -> None:
        if values is not self._values and values.size:
            self._values, self._hash = values, hash_constants(values)
            self._packed = pack_arrays({"constants": values})["constants"]


@final
@dataclass(frozen=True)
class Request:
    """The request that each client of a cohort is sent.

    Attributes:
        content: with the constants' hash, if the model has constants.
        constants: the model's, packed; `None` if it has none.
        holding: clients of a simulation that were sent them before.
    """

    content: Content
    constants: Array | None = None
    holding: Collection[str] = ()

    @cached_property
    def packed(self) -> RecordDict:
        """`content`, as it is sent."""
        return records.to_flower(self.content)

    @cached_property
    def packed_whole(self) -> RecordDict:
        """`whole`, as it is sent."""
        return records.to_flower(self.whole)

    @cached_property
    def whole(self) -> Content:
        """The request for a client that has said that it lacks the constants."""
        if self.constants is None:
            return self.content
        model = self.content["model"]
        assert isinstance(model, ArrayRecord)
        filled = ArrayRecord({**model, "constants": self.constants})
        return {**self.content, "model": filled}

    @cached_property
    def lent(self) -> RecordDict:
        """The request for simulated clients: with the constants, without the hash for storing them."""
        if self.constants is None:
            return self.packed
        config = self.content[MAIN]
        assert isinstance(config, ConfigRecord)
        named = ConfigRecord({key: value for key, value in config.items() if key != "constants"})
        return records.to_flower({**self.whole, MAIN: named})

    def sizes(self, names: Collection[str]) -> dict[str, int]:
        """Bytes that each device would be sent; empty if all are sent only `content`."""
        if self.constants is None:
            return {}
        first, further = records.measure(self.packed), records.measure(self.packed_whole)
        return {name: first if name in self.holding else first + further for name in names}


def make_request(
    constants: Constants,
    state: ServerState,
    layout: Layout,
    *,
    seed: int,
    cohort: Collection[str],
    clients: int = 0,
    ahead: int = 1,
) -> Request:
    """The request to a cohort in the round after `state`.

    Args:
        constants: of the run.
        layout: of the model.
        seed: of the run.
        cohort: names of the clients asked.
        clients: size of the cohort, under a mask.
        ahead: number of rounds from the state's to the request's.
    """
    lost = {name: state.uncounted[name] for name in cohort if name in state.uncounted}
    values = state.model.constants
    with span("records"):
        content = pack_train(
            state.model, layout, round=state.round + ahead, seed=seed, streams=state.streams,
            uncounted=lost, clients=clients, constants=constants.hash(values) if values.size else "",
        )  # fmt: skip
        return Request(content, constants.packed(values) if values.size else None, state.holding)


def lacking(reply: Message) -> bool:
    """Whether a client says that it lacks the model's constants."""
    return reply.has_error() and reason(reply.error.reason).startswith(_LACKS)
