"""The request to a cohort: of the model, each client is sent what it lacks.

A message names the constants by their hash, and, with a downlink, the parameters to which its payloads are
added. A client that has them trains; one that lacks some says which (`LacksConstants`, `LacksBase`,
`LacksBoth`), is sent them in the same round, and keeps them. The clients of a simulation are lent the model
as it is to be trained, and the count of bytes is that of what devices would have been sent.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import final

from flwr.app import Message, RecordDict

from hedgerow import records
from hedgerow.server.broadcast import Broadcast, Broadcasts
from hedgerow.server.replies import reason
from hedgerow.spans import span
from hedgerow.types import Layout, ServerState, Vector
from hedgerow.wire.content import Array, ArrayRecord, ConfigRecord, Content
from hedgerow.wire.fields import MAIN, NO_VALUES
from hedgerow.wire.messages import Coded, pack_train

CONSTANTS, BASE = "constants", "base"
LACKS = {
    "LacksConstants": frozenset({CONSTANTS}),
    "LacksBase": frozenset({BASE}),
    "LacksBoth": frozenset({CONSTANTS, BASE}),
}
"""What a client lacks, by the name of its error."""


@final
@dataclass(frozen=True)
class Form:
    """What of a model a client is sent.

    Attributes:
        since: the number of what it has of earlier models, to which payloads are added; `None` sends a
            base, or the parameters.
        constants: whether the constants are sent.
    """

    since: int | None = None
    constants: bool = False

    def filled(self, lacks: Collection[str]) -> "Form":
        """The form for a client that has said what it lacks."""
        return Form(None if BASE in lacks else self.since, CONSTANTS in lacks)


@final
@dataclass(frozen=True)
class Request:
    """The request that each client of a cohort is sent, in one of its forms.

    Attributes:
        pack: `(parameters, how the model follows from them) -> content`, without the constants.
        broadcast: how the parameters are sent.
        seed: of the run.
        constants: the model's, packed; `None` if it has none.
        holding: clients of a simulation that were sent the constants before.
        held: `{client: number}` of what each has of earlier models.
    """

    pack: Callable[[Vector, Coded | None], Content]
    broadcast: Broadcast
    seed: int
    constants: Array | None = None
    holding: Collection[str] = ()
    held: Mapping[str, int] = field(default_factory=dict)
    _contents: dict[Form, Content] = field(default_factory=dict, repr=False)
    _packed: dict[Form, RecordDict] = field(default_factory=dict, repr=False)
    _sizes: dict[Form, int] = field(default_factory=dict, repr=False)

    def form(self, client: str) -> Form:
        """What a client is sent first; one that has given no proof may have the model before round 1."""
        number = self.held.get(client, 0)
        return Form(number if number in self.broadcast.since else None)

    def content(self, form: Form) -> Content:
        """The request in a form; the same object each time."""
        if form not in self._contents:
            made = self.broadcast
            with span("records"):
                content = (
                    self.pack(made.base, made.whole)
                    if form.since is None
                    else self.pack(NO_VALUES, made.since[form.since])
                )
                self._contents[form] = self._with_constants(content) if form.constants else content
        return self._contents[form]

    def packed(self, form: Form) -> RecordDict:
        """`content`, as it is sent; the same object each time."""
        if form not in self._packed:
            self._packed[form] = records.to_flower(self.content(form))
        return self._packed[form]

    @cached_property
    def lent(self) -> RecordDict:
        """The request for simulated clients: with all of the model, and nothing to be stored."""
        if self.constants is None and self.broadcast.whole is None:
            return self.packed(Form())
        content = self._with_constants(self.pack(self.broadcast.parameters, None))
        config = content[MAIN]
        assert isinstance(config, ConfigRecord)
        named = ConfigRecord({key: value for key, value in config.items() if key != CONSTANTS})
        return records.to_flower({**content, MAIN: named})

    def size(self, form: Form) -> int:
        """Bytes of the request in a form."""
        if form not in self._sizes:
            self._sizes[form] = records.measure(self.packed(form))
        return self._sizes[form]

    def sizes(self, names: Collection[str], makes: bool) -> dict[str, int]:
        """Bytes that each device would be sent.

        Args:
            names: of the devices.
            makes: whether they make the model before round 1 themselves.
        """
        if self.constants is None and self.broadcast.whole is None:
            return dict.fromkeys(names, self.size(Form()))
        found = {}
        for name in names:
            form, lacks = self.form(name), self._lacks(name, makes)
            found[name] = self.size(form) + (self.size(form.filled(lacks)) if lacks else 0)
        return found

    def _lacks(self, name: str, makes: bool) -> frozenset[str]:
        lacks = set()
        if self.constants is not None and name not in self.holding:
            lacks.add(CONSTANTS)
        if self.form(name).since is not None and name not in self.held and not makes:
            lacks.add(BASE)
        return frozenset(lacks)

    def _with_constants(self, content: Content) -> Content:
        model = content["model"]
        if self.constants is None:
            return content
        assert isinstance(model, ArrayRecord)
        return {**content, "model": ArrayRecord({**model, CONSTANTS: self.constants})}


def make_request(
    broadcasts: Broadcasts,
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
        broadcasts: of the run.
        state: with the model.
        layout: of the model.
        seed: of the run.
        cohort: names of the clients asked.
        clients: size of the cohort, under a mask.
        ahead: number of rounds from the state's to the request's.
    """
    lost = {name: state.uncounted[name] for name in cohort if name in state.uncounted}
    constants = broadcasts.constants
    values = state.model.constants

    def pack(parameters: Vector, coded: Coded | None) -> Content:
        return pack_train(
            replace(state.model, parameters=parameters), layout, round=state.round + ahead, seed=seed,
            streams=state.streams, uncounted=lost, clients=clients,
            constants=constants.hash(values) if values.size else "", coded=coded,
        )  # fmt: skip

    return Request(
        pack, broadcasts.of(state, layout, seed), seed,
        constants.packed(values) if values.size else None, state.holding, state.held,
    )  # fmt: skip


def lacking(reply: Message) -> frozenset[str]:
    """What a client says that it lacks of the model; nothing, if it says something else."""
    said = reason(reply.error.reason).partition(":")[0] if reply.has_error() else ""
    return LACKS.get(said, frozenset())
