"""What clients are sent of a model: all of it, or payloads to be added to what they have.

`ServerState.downlink` holds `base`, the parameters to which the next payload is added. With error feedback,
these are those of the last model that was sent; `hash.N` is then the hash of the model of round `N` as
clients have it, and `sent.N.NAME` what was sent of it, for as many rounds as take fewer bytes than a model.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from hedgerow.server.constants import Constants
from hedgerow.spans import span
from hedgerow.strategies.downlink import MOST_MISSED, encode_down, follows, is_plain
from hedgerow.strategies.pipeline.chain import float32
from hedgerow.strategies.pipeline.transform import Transform
from hedgerow.types import Arrays, Layout, Model, ServerState, Vector, hash_constants
from hedgerow.wire.messages import Coded

BASE = "base"
_HASH, _SENT = "hash.", "sent."


def begin_downlink(step: Transform, parameters: Vector) -> Arrays:
    """The state of a downlink before the first round."""
    if is_plain(step):
        return {}
    first = {BASE: parameters}
    return {**first, f"{_HASH}0": _digits(_hash(parameters))} if follows(step) else first


@final
@dataclass(frozen=True)
class Broadcast:
    """One model, as clients are sent it.

    Attributes:
        parameters: what they train, `(d,) float32`.
        base: what one of them is sent that has nothing, `(d,) float32`.
        whole: how the parameters follow from `base`; `None` if they are `base`, and sent as they are.
        since: the same from what a client has, by its number; a number that is missing is too long ago.
        kept: the number of what a client has afterwards.
        after: the next state of the downlink.
    """

    parameters: Vector
    base: Vector
    whole: Coded | None = None
    since: Mapping[int, Coded] = field(default_factory=dict)
    kept: int = 0
    after: Arrays = field(default_factory=dict)

    def of(self, model: Model) -> Model:
        """The model as clients train it."""
        return replace(model, parameters=self.parameters)


@final
@dataclass
class Broadcasts:
    """A run's models on their way to clients: each is encoded once, for training and evaluation.

    Attributes:
        downlink: of the strategy.
        constants: of the run's models.
    """

    downlink: Transform = field(default_factory=float32)
    constants: Constants = field(default_factory=Constants)
    _made: tuple[ServerState, Broadcast] | None = field(default=None, repr=False)

    def of(self, state: ServerState, layout: Layout, seed: int) -> Broadcast:
        """What clients are sent of a state's model."""
        if self._made is None or not _alike(self._made[0], state):
            with span("records"):
                self._made = state, broadcast(self.downlink, state, layout, seed)
        return self._made[1]

    def sent(
        self, before: ServerState, after: ServerState, clients: Collection[str], layout: Layout, seed: int
    ) -> ServerState:
        """A state after the model of an earlier one was sent, of which these clients have given proof."""
        made = self.of(before, layout, seed)
        if made.whole is None:
            return after
        return _held(replace(after, downlink=made.after), clients, made)

    def held(self, state: ServerState, clients: Collection[str], layout: Layout, seed: int) -> ServerState:
        """A state of which these clients have measured the model."""
        if is_plain(self.downlink):
            return state
        return _held(state, clients, self.of(state, layout, seed))


def broadcast(step: Transform, state: ServerState, layout: Layout, seed: int) -> Broadcast:
    """What clients are sent of a state's model.

    >>> from hedgerow.strategies import eden
    >>> from hedgerow.types import Model
    >>> start, now = np.zeros(64, np.float32), np.ones(64, np.float32)
    >>> state = ServerState(3, Model(now), downlink=begin_downlink(eden(4), start))
    >>> made = broadcast(eden(4), state, Layout.flat(64), seed=0)
    >>> [array.nbytes for array in made.since[0].payloads[3].values()], made.parameters.shape
    ([32, 4], (64,))
    """
    parameters, number, had = state.model.parameters, state.round, state.downlink
    if is_plain(step) or BASE not in had:  # a model that is not of a run has no base
        return Broadcast(parameters, parameters)
    base: Vector = had[BASE]
    arrays: Arrays = {}
    decoded = base
    if not np.array_equal(base.view(np.uint32), parameters.view(np.uint32)):  # zeros have signs
        arrays, decoded = encode_down(step, parameters, base, seed=seed, number=number, layout=layout)
    if not follows(step):
        coded = Coded(_hash(base), _hash(decoded), {number: arrays} if arrays else {})
        return Broadcast(decoded, base, coded, {0: coded}, 0, had)
    return _following(had, number, arrays, decoded)


def _following(had: Arrays, number: int, arrays: Arrays, decoded: Vector) -> Broadcast:
    """The broadcast of a model whose base is the model that was sent before it."""
    named = _hash(decoded)
    hashes = {number: named}
    payloads: dict[int, dict[str, NDArray[Any]]] = {number: dict(arrays)} if arrays else {}
    for key, values in had.items():
        if key.startswith(_HASH):
            hashes.setdefault(int(key.removeprefix(_HASH)), values.tobytes())
        elif key.startswith(_SENT):
            sent, _, name = key.removeprefix(_SENT).partition(".")
            payloads.setdefault(int(sent), {})[name] = values
    since = {}
    for start in sorted(hashes, reverse=True):
        missed = {at: payloads[at] for at in sorted(payloads) if at > start}
        size = sum(values.nbytes for each in missed.values() for values in each.values())
        if size >= decoded.nbytes or len(missed) > MOST_MISSED:
            break
        since[start] = Coded(hashes[start], named, missed)
    after = {BASE: decoded} | {f"{_HASH}{start}": _digits(hashes[start]) for start in sorted(since)}
    for at in sorted(payloads):
        if at > min(since):
            after |= {f"{_SENT}{at}.{name}": values for name, values in payloads[at].items()}
    return Broadcast(decoded, decoded, Coded(named, named, {}), since, number, after)


def _held(state: ServerState, clients: Collection[str], made: Broadcast) -> ServerState:
    return replace(state, held={**state.held, **dict.fromkeys(clients, made.kept)})


def _alike(one: ServerState, other: ServerState) -> bool:
    """Whether two states are sent alike."""
    same = one.model.parameters is other.model.parameters and one.downlink is other.downlink
    return same and one.round == other.round


def _hash(parameters: Vector) -> bytes:
    return bytes.fromhex(hash_constants(parameters))


def _digits(digest: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(digest, np.uint8)
