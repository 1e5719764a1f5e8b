"""Compute the server's model again from a run's recording, without any training."""

from collections.abc import Iterator
from dataclasses import replace

from safetensors import SafetensorError

from hedgerow.server.buffer import Buffer
from hedgerow.server.collected import Collected
from hedgerow.server.collector import StartCollector
from hedgerow.server.masked_collector import StartMasked
from hedgerow.server.private import RELEASED
from hedgerow.server.recording import Recorder, RecordingError, StartKeeping, unpack
from hedgerow.server.round_kind import Cohort, Collector, Counted
from hedgerow.server.step import Aggregated, step
from hedgerow.strategies.strategy import Strategy
from hedgerow.strategies.streams import Totals
from hedgerow.types import ServerState
from hedgerow.types.flights import Flights
from hedgerow.types.recording import Recording
from hedgerow.wire.replies import Reply


def replay(recorder: Recorder, strategy: Strategy) -> Iterator[ServerState]:
    """The server's state before the first recorded round, and after each of them.

    The models are those of the run, bit for bit. The private state of a strategy,
    which holds noise, is neither recorded nor recomputed.

    Raises:
        RecordingError: a round is missing, cannot be read, or does not fit the strategy.
    """
    state = recorder.start()
    models = dict(state.flights.models)
    yield state
    for found in recorder.read():
        if strategy.arrivals is not None and strategy.arrivals.models:  # of earlier rounds, too
            models[state.round] = state.model
            models = {v: model for v, model in models.items() if state.round - v <= strategy.arrivals.most}
            state = replace(state, flights=Flights(0, (), models))
        state, _ = step(strategy, state, _aggregated(recorder, strategy, state, found))
        yield state


def _aggregated(recorder: Recorder, strategy: Strategy, state: ServerState, found: Recording) -> Aggregated:
    if strategy.private:
        return Aggregated(
            found.cohort, found.arrays.get(RELEASED), Totals(found.counted, found.clients),
            frozenset(found.dropped), found.failed,
        )  # fmt: skip
    if strategy.arrivals is not None:
        return _buffered(recorder, strategy, state, found)
    collector = _collector(recorder, strategy, found)
    _check_counted(found, collector.collected)
    cohort = Cohort(dict.fromkeys(found.cohort, 0), found.clients)
    return Counted(strategy, cohort, collector).aggregated(state)


def _buffered(recorder: Recorder, strategy: Strategy, state: ServerState, found: Recording) -> Aggregated:
    """The aggregate of a step of an asynchronous run."""
    start = StartCollector(replace(strategy, norm_bound=0.0), recorder.layout, recorder.seed)
    buffer = Buffer(StartKeeping(start), state, keep=False)
    needed = strategy.arrivals is not None and strategy.arrivals.models
    for client, version in found.versions.items():
        if client not in found.replies:
            buffer.versions[client] = version
        elif needed and version not in {*state.flights.models, state.round}:
            raise RecordingError(
                f"the reply of {client} in round {found.round} is to the model of round {version}, which was"
                " not recorded; without it the model cannot be computed again"
            )
        else:
            buffer.add(client, version, _unpacked(client, found))
    _check_counted(found, buffer.collected)
    return buffer.aggregated(found.clients)


def _check_counted(found: Recording, collected: Collected) -> None:
    """Raise `RecordingError` if not as many replies count again, and take over who did not."""
    if collected.counted != found.counted:
        raise RecordingError(
            f"of round {found.round}, {collected.counted} recorded replies count, but {found.counted} did"
            f" ({'; '.join(f'{name}: {why}' for name, why in collected.dropped.items())}); the run had"
            " another strategy"
        )
    collected.dropped, collected.failed = dict(found.dropped), found.failed


def _unpacked(client: str, found: Recording) -> Reply:
    try:
        return unpack(found.replies[client])
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise RecordingError(
            f"the reply of {client} in round {found.round} cannot be read: {error}"
        ) from error


def _collector(recorder: Recorder, strategy: Strategy, found: Recording) -> Collector:
    """The collector of a recorded round, with its replies added."""
    layout, seed, clients = recorder.layout, recorder.seed, len(found.cohort)
    if strategy.pipeline.sum_only:
        masked = StartMasked(strategy, layout, seed)(found.round, 0 if found.failed else clients)
        masked.restore(found.arrays, found.counted)
        return masked
    # Clients whose norm exceeded the bound are recorded as dropped.
    collector = StartCollector(replace(strategy, norm_bound=0.0), layout, seed)(found.round, clients)
    for client in found.replies:
        collector.add(client, _unpacked(client, found))
    return collector
