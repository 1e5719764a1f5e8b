"""A run that this machine coordinates, from start to end; shared by `up` and `rehearse`."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from hedgerow.experiments.cli import terminal

if TYPE_CHECKING:
    from hedgerow.coordinator.folder import FederationFolder
    from hedgerow.coordinator.job import Job
    from hedgerow.experiments.config.schema import Experiment
    from hedgerow.graphs.offer import Offer


def coordinate(
    experiment: "Experiment",
    run: Path,
    folder: "FederationFolder",
    begun: Callable[[str], None],
    *,
    ready: Callable[[], str] = lambda: "",
    status_host: str = "127.0.0.1",
    stay: bool = False,
    graphs: Path | None = None,
    report: Callable[[], None] = lambda: None,
) -> bool:
    """Run an experiment on the devices of a federation, printing each round.

    Args:
        run: its folder.
        folder: of the federation, which this process then locks.
        begun: called with the address of the status page, as soon as devices can connect.
        ready: called before anything starts, once the run's folder is prepared; returns the address whose
            code the status page shows, empty for none.
        status_host: address that the page is served on.
        stay: after the run, keep serving devices and page until a signal arrives.
        graphs: a folder of graphs for devices without torch; `None` for those that the run already has.
        report: called from time to time; if it raises `RunFailed`, the run ends.

    Returns:
        Whether the run was completed, not stopped by a signal.

    Raises:
        typer.Exit: the run cannot continue; the reason has been printed.
        FederationError, OSError: a process does not start, or cannot be restarted.
    """
    from hedgerow.coordinator.job import RunFailed
    from hedgerow.coordinator.supervisor import Supervisor
    from hedgerow.locks import hold

    with hold(folder.path, keep=True), _stopped() as stop:
        supervisor = Supervisor(folder, terminal.tell, stop)
        supervisor.clear()
        job = _job(experiment, run, folder, graphs, report)
        try:
            begun(supervisor.start(status_host, ready()))
            done = supervisor.carry_out(job)
            if done and stay:
                terminal.tell("the run has ended; serving devices until 'hedgerow stop' or Ctrl-C")
                supervisor.stay(lambda: False, job.wanted)
            return done
        except RunFailed as error:
            terminal.complain(f"the run failed: {error}")
            raise typer.Exit(1) from None
        finally:
            supervisor.end()


def _job(
    experiment: "Experiment",
    run: Path,
    folder: "FederationFolder",
    graphs: Path | None,
    report: Callable[[], None],
) -> "Job":
    from hedgerow.coordinator.graphs import GraphStore
    from hedgerow.coordinator.job import Job
    from hedgerow.experiments.cli.round_lines import RoundLines
    from hedgerow.experiments.config.schema import to_toml
    from hedgerow.experiments.runs import coordinated
    from hedgerow.experiments.runs.graphs import checked_graphs, offer_of, remember_offer
    from hedgerow.experiments.runs.run import clients_meant
    from hedgerow.experiments.runs.store import RunFolder
    from hedgerow.locks import hold

    coordinated.check_describable(experiment, graphs=graphs is not None or offer_of(run) is not None)
    found = None if graphs is None else checked_graphs(experiment, graphs)
    with hold(run, keep=True):
        there = RunFolder.create(run, to_toml(experiment), extend=True)
        coordinated.remember(run, folder)
        if found is not None:
            GraphStore(folder).put(found[0])
            remember_offer(run, found[1])
            terminal.tell(_offered(*found[1:]))
    wanted, rounds = clients_meant(experiment), RoundLines(there)
    config = {"run": str(run), "federation": str(folder.path)}
    folder.write(
        "job.json",
        {**config, "name": experiment.name, "wanted": wanted, "rounds": experiment.rounds,
         "protected": experiment.strategy().protected},
    )  # fmt: skip

    def told() -> None:
        rounds()
        report()

    return Job(
        run, coordinated.SERVER_APP, coordinated.CLIENT_APP, config, wanted,
        done=lambda: len(there.rounds()), finished=lambda: there.finished, report=told,
    )  # fmt: skip


def _offered(offer: "Offer", needed: int) -> str:
    """What people are told about graphs that devices are offered."""
    by = (
        f"signed by {offer.signer}"
        if offer.signer
        else "signed by nobody, so that a policy must list the hash"
    )
    return (
        f"devices without torch may train by the graphs {offer.hash}, {by}; a run of one takes at most"
        f" {needed / 2**20:,.1f} MB"
    )


@contextmanager
def _stopped() -> Iterator[threading.Event]:
    """An event that Ctrl-C, SIGTERM and the end of the terminal set."""
    stop, before = threading.Event(), {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as with nohup
            before[number] = signal.signal(number, lambda *_: stop.set())
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
