"""Ours, through `hedgerow.simulate`."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import measure
import workload as w

import hedgerow as hr
from hedgerow.strategies.sampling import Sampling


class Names(Sequence[str]):
    """The clients' names, made when looked at; sorted as the clients are numbered."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __len__(self) -> int:
        return self._number

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(self._number))]
        if not -self._number <= place < self._number:
            raise IndexError(place)
        return f"client-{place % self._number:06d}"


class Data:
    """The clients' data, as `simulate` wants them: by name."""

    draws = False  # from the global generators, which are then not seeded for each client

    def __init__(self, workload: w.Workload) -> None:
        self._clients = w.Clients(workload)
        self.names = Names(workload.clients)

    def samples(self, name: str) -> hr.Samples:
        """Samples of a client, without a copy."""
        return hr.Samples(*self._clients.arrays(int(name.removeprefix("client-"))))


def sampling(workload: w.Workload) -> Sampling:
    """Uniform; where it matters who is asked, the same cohorts as the plain loop's."""
    if not workload.power_law:
        return hr.uniform(w.COHORT)
    clients, names = w.Clients(workload), Names(workload.clients)
    return Sampling("given", lambda _, seed, number: tuple(sorted(names[i] for i in clients.cohort(number))))


def main() -> None:
    """Run the rounds."""
    given = measure.arguments()
    recorder = measure.Recorder("hedgerow", ("hedgerow", "flwr"), given)
    workload = w.WORKLOADS[given.workload]
    strategy = hr.fedavg(
        sampling=sampling(workload),
        local=hr.LocalTraining(learning_rate=w.LEARNING_RATE, epochs=w.EPOCHS, batch_size=w.BATCH),
    )
    task = hr.Task(model=partial(w.make_model, workload))
    engine: dict[str, Any] = {"workers": given.processes, "trainer": "auto"}
    for result in hr.simulate(task, Data(workload), strategy, rounds=given.rounds, **engine):
        if result.failed or result.dropped:
            raise RuntimeError(f"round {result.round}: {result.failed or dict(result.dropped)}")
        recorder.end_round(lambda model=result.state.model: model.parameters.copy())
    recorder.finish()


if __name__ == "__main__":
    main()
