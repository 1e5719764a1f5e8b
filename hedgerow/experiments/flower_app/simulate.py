"""Run a Flower app folder on this machine, in a separate process."""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NoReturn, final

from flwr.app import Context, Message
from flwr.serverapp import Grid, ServerApp

from hedgerow import checks
from hedgerow.experiments.cli import terminal
from hedgerow.experiments.cli.options import profiled
from hedgerow.experiments.cli.streams import tolerate
from hedgerow.experiments.flower_app import progress
from hedgerow.experiments.runs.processes import cores
from hedgerow.simulation import flower
from hedgerow.simulation.clients import App
from hedgerow.simulation.flower_app.app import AppError, FlowerApp, load_app, read_app
from hedgerow.simulation.flower_app.counts import MessageCounts
from hedgerow.simulation.flower_app.grid import AppGrid, RayGrid
from hedgerow.simulation.flower_app.randomness import OwnRandomness
from hedgerow.simulation.grid import InProcessGrid
from hedgerow.simulation.server_app import run_server_app
from hedgerow.spans import span

ENGINES = ("hedgerow", "flower")
_SECONDS_TO_END = 10.0


def simulate_app(
    app: FlowerApp,
    *,
    clients: int | None = None,
    workers: int | None = None,
    client_timeout: float | None = None,
    memory_limit: int | None = None,
    engine: str = "hedgerow",
    counts: MessageCounts | None = None,
    on_change: Callable[[MessageCounts], None] = lambda counts: None,
) -> MessageCounts:
    """Run a Flower app to the end, in this process.

    Afterwards the app's folder is still first on `sys.path`, and its modules are still imported.

    Args:
        app: as `read_app` reads it from its folder.
        clients: number of SuperNodes; None uses the app's federation options.
        workers: number of clients that run at a time, each in its own process; 1 runs them in this
            process, None uses as many as there are cores.
        client_timeout: seconds that a client may take; None for no limit. Not for Flower's engine.
        memory_limit: bytes that a client's process may allocate; None for no limit. Not for Flower's engine.
        engine: `hedgerow`, or `flower` for Flower's own simulation on Ray. Both
            give the server its nodes in the order of their partitions, and
            replies in the order of their messages.
        counts: where to count messages; default: a new one.
        on_change: called with the counts so far.

    Returns:
        The counts of messages.

    Raises:
        AppError: the app cannot be loaded, or cannot be run as requested.
        Exception: whatever the app raises.
    """
    checks.one_of(ENGINES, engine=engine)
    workers = cores() if workers is None else workers
    num_clients = _num_clients(app, clients)
    if engine == "flower":
        _need_ray()
        if client_timeout is not None or memory_limit is not None:
            raise AppError(
                "Flower's engine has no limits for clients: leave them out, or use --engine hedgerow"
            )
    with span("imports"):
        server_app, client_app = load_app(app)
    counts = MessageCounts() if counts is None else counts
    watching = ServerApp()

    @watching.main()
    def main(grid: Grid, context: Context) -> None:
        try:
            if isinstance(grid, InProcessGrid):
                around = AppGrid(grid, grid.get_node_ids, counts, on_change)
                with span("server app"):
                    server_app(around, context)
                    around.finish()
            else:
                flower.wait_for_nodes(grid, num_clients)
                nodes = partial(flower.nodes_by_partition, grid)
                server_app(RayGrid(grid, nodes, counts, on_change), context)
        except SystemExit as error:  # it would silently end Flower's server thread
            if error.code:
                raise RuntimeError(f"the server app ended itself with exit code {error.code}") from error

    if engine == "flower":
        flower.run_on_ray(
            watching,
            client_app,
            num_clients,
            folder=app.folder,
            run_config=app.run_config,
            overrides=app.overrides,
            workers=workers,
        )
    else:
        grid = InProcessGrid(
            _Measured(OwnRandomness(client_app)), num_clients, run_config=app.run_config,
            workers=workers, client_timeout=client_timeout, memory_limit=memory_limit,
        )  # fmt: skip
        run_server_app(watching, grid)
    return counts


@final
class _Measured:
    """A client app whose work is recorded by message type, and done as in a worker."""

    def __init__(self, app: App) -> None:
        self._app = app

    def __call__(self, message: Message, context: Context) -> Message:
        with span(message.metadata.message_type.partition(".")[0]), _one_thread():
            return self._app(message, context)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Use one thread, as in a worker process, because more torch threads give different sums."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _main(
    folder: Path,
    run_config: list[str],
    clients: int | None,
    workers: int | None,
    client_timeout: float | None,
    memory_limit: int | None,
    trace: str | None,
    engine: str,
) -> int:
    began = time.perf_counter()
    counts = MessageCounts()
    try:
        if trace is not None and engine == "flower":
            raise AppError(
                "Flower's engine cannot be profiled: leave --profile out, or use --engine hedgerow"
            )
        app = read_app(folder, run_config)
        sys.argv = [str(app.folder)]
        progress.log_clients(app.folder)
        terminal.tell(f"{app.name}: loading the app and its clients")
        with profiled(trace is not None) as profile, progress.show(app) as on_change:
            simulate_app(
                app, clients=clients, workers=workers, client_timeout=client_timeout,
                memory_limit=memory_limit, engine=engine, counts=counts, on_change=on_change,
            )  # fmt: skip
    except AppError as error:
        terminal.complain(str(error))
        return 2
    except KeyboardInterrupt:
        terminal.complain(f"interrupted; {progress.summary(counts, time.perf_counter() - began)}")
        return 130
    except BaseException as error:
        terminal.complain(progress.short_traceback(error, app.folder))
        terminal.complain(f"failed; {progress.summary(counts, time.perf_counter() - began)}")
        return 1
    line = progress.summary(counts, time.perf_counter() - began)
    if counts.answered and counts.failed.total() == counts.answered:
        terminal.complain(f"failed, no client answered; {line}")
        return 1
    terminal.say(f"done; {line}")
    if trace is not None and profile is not None:
        terminal.print_profile(profile, Path(trace))
    return 0


def _end(code: int) -> NoReturn:
    """End the process, even if the app has left threads running."""
    forced = threading.Timer(_SECONDS_TO_END, os._exit, [code])
    forced.daemon = True
    forced.start()
    sys.exit(code)


def _num_clients(app: FlowerApp, clients: int | None) -> int:
    if clients is None and app.clients is None:
        raise AppError(f"{app.folder} does not say how many clients it has; give it: --clients 10")
    number = app.clients if clients is None else clients
    assert number is not None
    checks.whole(1, clients=number)
    return number


def _need_ray() -> None:
    try:
        import ray  # noqa: F401
    except ModuleNotFoundError:
        raise AppError('ray is not installed; install it with: pip install "hedgerow[ray]"') from None


if __name__ == "__main__":
    tolerate()
    options = json.loads(sys.argv[1])
    _end(_main(Path(options.pop("folder")), **options))
