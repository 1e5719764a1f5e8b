"""A grid on which time is simulated: replies arrive when described devices and links would deliver them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from math import inf
from typing import Any, final

from flwr.app import ConfigRecord, Message, RecordDict

from hedgerow import records
from hedgerow.grids import GridAround
from hedgerow.simulation import flower
from hedgerow.simulation.client_runner import Start
from hedgerow.simulation.clock.clock import Clock
from hedgerow.simulation.clock.flight import FREE, OnItsWay
from hedgerow.simulation.clock.timed import StartTimed, Timing
from hedgerow.simulation.clock.trip import Trip
from hedgerow.simulation.clock.work import Work
from hedgerow.simulation.grid import InProcessGrid
from hedgerow.types.costs import Cost, Spent
from hedgerow.wire.fields import MAIN

_TRAIN = "train"
_NOW = ""
"""In what is kept: the clock itself; no client has this name."""


@final
class ClockedGrid(GridAround):
    """A simulation's grid with a clock of its own, which moves when replies arrive and never waits.

    Guarantees:
        - What arrives when depends on the run's seed, the clock and the measured bytes only: not on
          the machine, the number of workers or their speed.
        - A client does one thing after another: one that is still at work begins later.
        - Evaluations and queries take no time and cost nothing.

    Args:
        grid: runs the clients; it knows their names.
        clock: their devices, links and availability.
        work: of a client that trains.
        seed: of the run.
    """

    def __init__(self, grid: InProcessGrid, clock: Clock, work: Work, seed: int) -> None:
        super().__init__(grid)
        self._inner, self._clock, self._work, self._seed = grid, clock, work, seed
        self._now = self._before = 0.0
        self._free: dict[str, float] = {}
        self._lent: dict[int, int] = {}
        self._flights: dict[str, OnItsWay] = {}
        self._gone: dict[str, str] = {}
        self._attempts: dict[str, tuple[str, int]] = {}
        self._costs: dict[str, Cost] = {}
        self._there: tuple[Sequence[str], Sequence[int]] | None = None

    def running(self) -> AbstractContextManager[Any]:
        """Start the run, as `InProcessGrid.running`."""
        return self._inner.running()

    def instruction(self, content: RecordDict, node: int, message_type: str, group_id: str = "") -> Message:
        """Make an instruction message."""
        return self._inner.instruction(content, node, message_type, group_id)

    def now(self) -> float:
        """Simulated seconds since the start of the run."""
        return self._now

    def kept(self) -> Mapping[str, float]:
        """What the next round depends on: the clock, and when the clients that are still at work are free."""
        return {_NOW: self._now} | {n: at for n, at in sorted(self._free.items()) if at > self._now}

    def resume(self, kept: Mapping[str, float]) -> None:
        """Continue from what an earlier grid has `kept`; nothing is on its way."""
        self._free = {name: at for name, at in kept.items() if name != _NOW}
        self._now = self._before = kept.get(_NOW, 0.0)

    def spent(self) -> Spent:
        """What everything since the last call has taken and cost."""
        found = Spent(self._now - self._before, self._now, dict(sorted(self._costs.items())))
        self._before, self._costs = self._now, {}
        return found

    def client_names(self) -> Sequence[str] | None:
        """Names of the clients that are available now; if nothing is on its way, waits until one is.

        Raises:
            ValueError: no client ever comes back.
        """
        names = self._inner.client_names()
        assert names is not None
        if self._clock.availability is None:
            return names
        back = [self._clock.back(self._seed, name, self._now) for name in names]
        if (first := min(back)) == inf:
            raise ValueError(
                f"no client is available after {self._now:g} simulated seconds: give a longer trace, or one"
                " that begins again (every), or fewer rounds"
            )
        if not self._flights:  # else something arrives, and nobody waits
            self._now = max(self._now, first)
        places = [place for place, at in enumerate(back) if at <= self._now]
        ids = self._inner.get_node_ids()
        there = tuple(names[place] for place in places)
        if self._there is None or self._there[0] != there:
            self._there = there, [ids[place] for place in places]
        return self._there[0]

    def get_node_ids(self) -> Sequence[int]:
        """Ids of the nodes of `client_names`."""
        return self._inner.get_node_ids() if self._there is None else self._there[1]

    def node(self, client: str) -> int:
        """Node id of a client, available or not."""
        names = self._inner.client_names()
        assert names is not None
        return self._inner.get_node_ids()[names.index(client)]

    def begins(self, client: str) -> float:
        """When a client would begin with a message that is sent now: if it is still at work, later."""
        return max(self._now, self._free.get(client, 0.0))

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Send messages now."""
        return self._push(list(messages), None)

    def push_at(self, messages: Iterable[Message], moment: float) -> list[str]:
        """Send messages with which their clients begin at a moment, which may be past."""
        return self._push(list(messages), moment)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterator[Message]:
        """All replies to these messages, in the order of their arrival."""
        return self.replies_by(inf, list(message_ids))

    def replies_by(self, deadline: float, message_ids: Sequence[str]) -> Iterator[Message]:
        """Replies to these messages as they arrive; the clock moves with each, and at most to `deadline`."""
        wanted = [each for each in message_ids if each in self._flights]
        after = self._clock.lost_after
        while wanted:
            message_id = min(wanted, key=lambda each: self._order(each, after))
            flight = self._flights[message_id]
            if flight.reply is None:
                # All that wait are run together, so that workers share them.
                self._run({each: f for each in wanted if (f := self._flights[each]).reply is None})
                continue
            if flight.when(after) > deadline:
                break
            self._now = max(self._now, flight.when(after))
            wanted.remove(message_id)
            yield self._landed(message_id)
        if wanted and deadline < inf:
            self._now = max(self._now, deadline)

    def lend(self, sizes: Mapping[int, int]) -> None:
        """Bytes of the next message to each node, in place of what its record takes."""
        self._lent.update(sizes)

    def forget(self, message_ids: Iterable[str]) -> None:
        """Wait no longer for these messages; what their clients spend counts all the same."""
        for message_id in message_ids:
            if message_id in self._flights:
                self._landed(message_id)

    def makes(self, named: str, seed: int) -> bool:
        """Whether the clients make the parameters with this hash from the run's seed themselves."""
        return self._inner.makes(named, seed)

    def reduce(
        self, start: Start, arguments: tuple[Any, ...], asked: Sequence[tuple[str, int]], content: RecordDict,
        *, message_type: str, group_id: str, timeout: float | None = None,
        sizes: Mapping[str, int] | None = None,
    ) -> Iterator[Any]:  # fmt: skip
        """Send one record to clients, and collect the replies that arrive in time where they are made.

        The arguments are those of `InProcessGrid.reduce`; `timeout` is in simulated seconds.
        """
        if not message_type.startswith(_TRAIN):
            self._run({each: f for each, f in self._flights.items() if f.reply is None})
            yield from self._inner.reduce(
                start, arguments, asked, content, message_type=message_type, group_id=group_id
            )
            return
        size, round = records.measure(content), int(group_id)
        trips = {
            name: self._clock.trip(
                self._seed, self._work, name, round=round, start=self.begins(name),
                down=(sizes or {}).get(name, size), trains=True, attempt=self._attempt(name, group_id),
            )
            for name, _ in asked
        }  # fmt: skip
        deadline = inf if timeout is None else self._now + timeout
        timing = Timing(round, trips, deadline, self._clock.lost_after)
        run = [(name, node) for name, node in asked if trips[name].trained < trips[name].lost]
        parts = self._inner.reduce(
            StartTimed(start), (timing, *arguments), run, content,
            message_type=message_type, group_id=group_id,
        )  # fmt: skip
        up: dict[str, int] = {}
        for part in parts:
            up |= part.sizes
            yield part.collected
        others = start(*arguments)
        for name in trips.keys() - dict(run).keys():
            others.add(name, timing.received(name, None, 0))
        yield others.collected
        for name, trip in trips.items():
            self._book(name, trip, up.get(name, 0))
        self._now = max((timing.ends(name, up.get(name, 0)) for name in trips), default=self._now)

    def _push(self, messages: list[Message], moment: float | None) -> list[str]:
        ids = self._inner.push_messages(messages)
        for message_id, message in zip(ids, messages, strict=True):
            self._flights[message_id] = self._flight(message, moment)
        return ids

    def _order(self, message_id: str, lost_after: float) -> tuple[float, str]:
        flight = self._flights[message_id]
        return flight.when(lost_after), flight.client

    def _run(self, flights: Mapping[str, OnItsWay]) -> None:
        """Have clients answer; those that are lost before they do are not run."""
        lost = [each for each, flight in flights.items() if flight.trip.lost <= flight.trip.trained]
        self._inner.discard(lost)
        for message_id in lost:
            flights[message_id].answer(self._lost(message_id))
        asked = [message_id for message_id in flights if message_id not in lost]
        for message_id, reply in zip(asked, self._inner.pull_messages(asked), strict=True):
            flights[message_id].answer(reply)

    def _landed(self, message_id: str) -> Message:
        """The server's end of a message: its reply, or that its client is lost."""
        flight = self._flights[message_id]
        if flight.reply is None:
            self._run({message_id: flight})
        del self._flights[message_id]
        assert flight.reply is not None
        if not flight.round:
            return flight.reply
        self._book(flight.client, flight.trip, flight.up)
        if flight.trip.answered(flight.up) < inf:
            return flight.reply
        self._gone[flight.client] = flight.round
        return self._lost(message_id)

    def _lost(self, message_id: str) -> Message:
        return flower.lost(message_id, self._inner.run.run_id)

    def _book(self, client: str, trip: Trip, up: int) -> None:
        self._free[client] = max(self._free.get(client, 0.0), trip.free(up))
        self._costs[client] = self._costs.get(client, Cost()) + trip.cost(up)

    def _flight(self, message: Message, moment: float | None) -> OnItsWay:
        content, group = message.content, message.metadata.group_id
        client = self._name(message.metadata.dst_node_id)
        if not message.metadata.message_type.startswith(_TRAIN):
            return OnItsWay(client, "", Trip(self._now, 0, 0.0, 0.0, FREE), lacking=False)
        start = self.begins(client) if moment is None else moment
        trains = "model" in content.array_records
        lent = self._lent.pop(message.metadata.dst_node_id, None)
        down = records.measure(content) if lent is None else lent
        trip = self._clock.trip(
            self._seed, self._work, client,
            round=int(group), start=start, down=down, trains=trains,
            attempt=self._attempt(client, group) if trains else 0,
        )  # fmt: skip
        if not trains and self._gone.get(client) == group:
            trip = replace(trip, lost=start)
        config = content.config_records.get(MAIN, ConfigRecord())
        named = {"constants": "constants", "base": "parameters"}
        lacking = trains and any(
            key in config and array not in content.array_records["model"] for key, array in named.items()
        )
        return OnItsWay(client, group, trip, lacking)

    def _attempt(self, client: str, group: str) -> int:
        """How often a client was asked to train in that round before."""
        before, number = self._attempts.get(client, ("", 0))
        self._attempts[client] = group, number + 1 if before == group else 0
        return self._attempts[client][1]

    def _name(self, node: int) -> str:
        names = self._inner.client_names()
        assert names is not None
        return names[node - self._inner.get_node_ids()[0]]
