"""A run's constants, which no round changes."""

from dataclasses import dataclass, field
from typing import final

import numpy as np

from hedgerow.types import Vector, hash_constants
from hedgerow.wire.arrays import pack_arrays
from hedgerow.wire.content import Array


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
