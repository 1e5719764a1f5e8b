"""Who is asked in an asynchronous run, and what arrives: always as many clients at work as were meant."""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import final

from flwr.app import Message
from flwr.serverapp import Grid

from hedgerow import rng
from hedgerow.server.broadcast import Broadcasts
from hedgerow.server.collect import Lends
from hedgerow.server.exchange import KeepsTime, instruction
from hedgerow.server.request import Form, Request, lacking, make_request
from hedgerow.server.roster import Roster
from hedgerow.strategies.strategy import Strategy
from hedgerow.types import Layout, Model, ServerState
from hedgerow.types.flights import Flight, Flights

_PAUSE = 0.05
_TRIES = 64
"""Positions drawn at random before the free clients are listed: with most of them free, one is enough."""


@dataclass(frozen=True)
class _Asked:
    flight: Flight
    node: int
    request: Request
    down: int
    form: Form


@final
class Desk:
    """Asks clients one by one, each with the newest model, and takes their replies as they arrive.

    Args:
        grid: that reaches the clients.
        strategy: whose sampling says how many are asked at a time.
        layout: of the model.
        broadcasts: of the run, whose downlink is plain.
        seed: of the run.
        timeout: seconds that a client has for its reply; `None` for ever.

    Attributes:
        most: how many are asked at a time.
    """

    def __init__(
        self,
        grid: Grid,
        strategy: Strategy,
        layout: Layout,
        broadcasts: Broadcasts,
        *,
        seed: int,
        timeout: float | None,
    ) -> None:
        self._grid, self._sampling, self._layout = grid, strategy.sampling, layout
        self._broadcasts, self._seed, self._timeout = broadcasts, seed, inf if timeout is None else timeout
        self._now = grid.now if isinstance(grid, KeepsTime) else time.monotonic
        self._asked: dict[str, _Asked] = {}
        self.most = self._counted = self._number = 0
        self._busy: set[str] = set()
        self._models: dict[int, Model] = {}
        self._request: tuple[int, Request] | None = None
        self._arrived: deque[Message] = deque()

    def resume(self, state: ServerState, roster: Roster) -> None:
        """Ask again those who were on their way when an earlier server was killed."""
        self._number = state.flights.asked
        self._models = {
            v: replace(m, constants=state.model.constants) for v, m in state.flights.models.items()
        }
        if state.flights.flights and not isinstance(self._grid, KeepsTime):
            roster.refresh(self._grid)
        for flight in state.flights.flights:
            before = replace(state, round=flight.version, model=self._models[flight.version])
            if isinstance(self._grid, KeepsTime):
                self._send(flight, self._grid.node(flight.client), self._requested(before))
            elif flight.client in roster.names:  # an earlier process had another clock
                now = replace(flight, at=self._now())
                self._send(now, roster.node(flight.client), self._requested(before))

    def fill(self, state: ServerState, roster: Roster, resting: frozenset[str]) -> None:
        """Ask further clients, until as many are at work as were meant, or nobody else can be asked.

        Args:
            state: whose model they are sent.
            roster: of the available clients.
            resting: who is not asked now: set aside, or has answered since the last step.
        """
        roster.refresh(self._grid)
        names = roster.names
        if not names:
            return
        if len(names) != self._counted:
            self._counted, self.most = len(names), len(self._sampling.choose(names, self._seed, 1))
        while len(self._asked) < self.most and (name := self._draw(names, resting)):
            self._models[state.round] = state.model
            begins = self._grid.begins(name) if isinstance(self._grid, KeepsTime) else self._now()
            request = self._requested(state)
            down = request.sizes([name], False)[name] if isinstance(self._grid, Lends) else 0
            self._send(Flight(name, state.round, begins, down), roster.node(name), request)

    def arrives(self) -> tuple[Flight, Message | None, int] | None:
        """The next reply, with what was asked and its bytes down; `None` in place of a reply that is late.

        Returns:
            `None` if nobody is at work.
        """
        while self._asked:
            first = min(asked.flight.at for asked in self._asked.values()) + self._timeout
            if (reply := self._next(first)) is not None:
                asked = self._asked.pop(reply.metadata.reply_to_message_id, None)
                if asked is None:
                    continue
                if (lacks := lacking(reply)) and asked.form == Form():
                    self._send(asked.flight, asked.node, asked.request, asked.form.filled(lacks), asked.down)
                    continue
                self._busy.discard(asked.flight.client)
                return asked.flight, reply, asked.down
            for message_id, asked in self._asked.items():
                if self._now() >= asked.flight.at + self._timeout:
                    return self._given_up(message_id)
            if not isinstance(self._grid, KeepsTime):
                time.sleep(_PAUSE)
        return None

    def _next(self, deadline: float) -> Message | None:
        """The next reply; `None` if there is none yet, or on a simulated clock none before the deadline."""
        if isinstance(self._grid, KeepsTime):
            return next(iter(self._grid.replies_by(deadline, list(self._asked))), None)
        if not self._arrived:
            self._arrived.extend(self._grid.pull_messages(list(self._asked)))
        return self._arrived.popleft() if self._arrived else None

    def _given_up(self, message_id: str) -> tuple[Flight, None, int]:
        asked = self._asked.pop(message_id)
        self._busy.discard(asked.flight.client)
        if isinstance(self._grid, KeepsTime):
            self._grid.forget([message_id])
        return asked.flight, None, asked.down

    def kept(self, state: ServerState) -> ServerState:
        """The state after a step with what is on its way, and the models that are still needed."""
        flights = tuple(asked.flight for asked in self._asked.values())
        needed = {flight.version for flight in flights}
        self._models = {version: model for version, model in self._models.items() if version in needed}
        bare = {v: Model(model.parameters, model.buffers) for v, model in self._models.items()}
        return replace(state, flights=Flights(self._number, flights, bare))

    def _draw(self, names: Sequence[str], resting: frozenset[str]) -> str:
        """A client that is free, each as likely as the others; empty if there is none."""
        self._number += 1
        generator = rng.generator(self._seed, "ask a client", round=self._number)
        for _ in range(_TRIES):
            name = names[int(generator.integers(len(names)))]
            if name not in self._busy and name not in resting:
                return name
        free = [name for name in names if name not in self._busy and name not in resting]
        return free[int(generator.integers(len(free)))] if free else ""

    def _requested(self, state: ServerState) -> Request:
        if self._request is None or self._request[0] != state.round:
            request = make_request(self._broadcasts, state, self._layout, seed=self._seed, cohort=())
            self._request = state.round, request
        return self._request[1]

    def _send(
        self, flight: Flight, node: int, request: Request, form: Form | None = None, down: int = 0
    ) -> None:
        moment = flight.at if form is None else self._now()
        form = form or Form()
        content, down = request.packed(form), down + request.size(form)
        if isinstance(self._grid, Lends):
            content, down = request.lent, flight.down
            self._grid.lend({node: down})
        message = instruction(
            self._grid, content, node, "train", str(flight.version + 1),
            None if self._timeout == inf else self._timeout,
        )  # fmt: skip
        if isinstance(self._grid, KeepsTime):
            (message_id,) = self._grid.push_at([message], moment)
        else:
            (message_id,) = self._grid.push_messages([message])
        self._busy.add(flight.client)
        self._asked[message_id] = _Asked(flight, node, request, down, form)
