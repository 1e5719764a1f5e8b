"""The command line. Heavy imports are inside the commands, so that `--help` answers at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hedgerow.experiments import terminal
from hedgerow.experiments.errors import CommandError
from hedgerow.experiments.options import (
    ClientTimeoutOption,
    Limits,
    MemoryLimitOption,
    ProfileOption,
    WorkersOption,
    profiled,
)
from hedgerow.spans import span

if TYPE_CHECKING:
    from hedgerow.experiments.config import Experiment
    from hedgerow.experiments.grid import Sweep
    from hedgerow.experiments.profile import Profile

app = typer.Typer(
    name="hedgerow",
    cls=terminal.Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Place(StrEnum):
    """Where `run` has its clients."""

    local = "local"
    ray = "ray"


SourceArgument = Annotated[
    str,
    typer.Argument(metavar="RECIPE_OR_FILE", help="A recipe's name (see 'hedgerow list'), or a TOML file."),
]
OverridesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...", help="Change keys of the file, such as rounds=5 model.name=logistic."
    ),
]
OutOption = Annotated[
    Path | None, typer.Option("--out", metavar="FOLDER", help="Where to write.", show_default="runs/<name>")
]
PlaceOption = Annotated[
    Place, typer.Option("--engine", help="Where clients run: this machine, or a Ray cluster.")
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        metavar="auto|HOST:PORT|ray://HOST:PORT",
        help="Of the Ray cluster.",
        show_default="a Ray of its own, here",
    ),
]
MasksOption = Annotated[
    bool,
    typer.Option("--masks", help="Simulate secure aggregation as a whole, and not only what it adds up."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


class Kind(StrEnum):
    """What `list` can list."""

    recipes = "recipes"
    datasets = "datasets"
    partitions = "partitions"
    models = "models"
    strategies = "strategies"
    transforms = "transforms"


class Engine(StrEnum):
    """What `simulate` runs a Flower app on."""

    hedgerow = "hedgerow"
    flower = "flower"


def main() -> None:
    """The `hedgerow` command."""
    app(prog_name="hedgerow")


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=terminal.print_version, is_eager=True, help="Print the version."),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; HEDGEROW_DEBUG=1 does the same.")
    ] = False,
) -> None:
    """Federated learning for edge devices: what each update costs, and what it gives.

    Try [bold]hedgerow sweep demo[/bold]: four ways of sending an update, compared on real pictures.
    """


@app.command(rich_help_panel="Run")
def run(
    context: typer.Context,
    source: SourceArgument,
    overrides: OverridesArgument = None,
    out: OutOption = None,
    workers: WorkersOption = None,
    client_timeout: ClientTimeoutOption = None,
    memory_limit: MemoryLimitOption = None,
    profile: ProfileOption = False,
    engine: PlaceOption = Place.local,
    address: AddressOption = None,
    masks: MasksOption = False,
    json: JsonOption = False,
) -> None:
    """Run one experiment; print what it cost and write a report.

    The folder then holds the resolved configuration, one line a round, checkpoints and the final model.
    """
    measured = context.with_resource(profiled(profile))
    with span("imports"):
        from hedgerow.experiments.config import to_toml
        from hedgerow.experiments.grid import Sweep, slug
        from hedgerow.experiments.recipe import load
        from hedgerow.experiments.store import RunFolder

        experiment = load(source, overrides or ())
    if isinstance(experiment, Sweep):
        count = len(experiment.cells)
        raise CommandError(f"{source} describes {count} experiments; run them with: hedgerow sweep {source}")
    folder = out or Path("runs") / slug(experiment.name)
    if (folder / "config.toml").is_file() and not RunFolder.create(folder, to_toml(experiment)).finished:
        done = len(RunFolder(folder).rounds())
        raise CommandError(
            f"{folder} holds this experiment, {done} of {experiment.rounds} rounds done;"
            f" go on with: hedgerow resume {folder}"
        )
    limits = Limits(workers, client_timeout, memory_limit)
    _run(experiment, folder, limits, json, measured, engine=engine, address=address, masks=masks)


@app.command(rich_help_panel="Run")
def simulate(
    folder: Annotated[
        Path, typer.Argument(metavar="PATH", help="A Flower app: the folder with its pyproject.toml.")
    ],
    clients: Annotated[
        int | None,
        typer.Option(min=1, help="Number of clients.", show_default="the app's federation options"),
    ] = None,
    workers: WorkersOption = None,
    run_config: Annotated[
        list[str] | None,
        typer.Option(
            "--run-config",
            "-c",
            metavar="'KEY=VALUE ...'",
            help="Change the app's run config, as for 'flwr run'.",
        ),
    ] = None,
    client_timeout: ClientTimeoutOption = None,
    memory_limit: MemoryLimitOption = None,
    profile: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Show where the time went; write a trace for Perfetto to a file."),
    ] = None,
    engine: Annotated[
        Engine, typer.Option(help="Hedgerow's, or Flower's own simulation on Ray, to compare.")
    ] = Engine.hedgerow,
) -> None:
    """Run any Flower app, unchanged, on this machine: no Ray, no SuperLink.

    The exit code is 1 when the app fails, or when no client answers.
    """
    from hedgerow.experiments.own_process import run_module

    limits = Limits(workers, client_timeout, memory_limit)
    options = {
        "folder": str(folder),
        "run_config": run_config or [],
        "clients": clients,
        "workers": workers,
        "client_timeout": client_timeout,
        "memory_limit": limits.memory_limit,
        "trace": profile and str(profile),
        "engine": engine.value,
    }
    code = run_module("hedgerow.experiments.simulate_app", options)
    if code:
        raise typer.Exit(code)


@app.command(rich_help_panel="Run")
def sweep(
    source: SourceArgument,
    overrides: OverridesArgument = None,
    out: OutOption = None,
    workers: WorkersOption = None,
    json: JsonOption = False,
) -> None:
    """Run every combination of the values in \\[sweep], in parallel; compare them and write a report.

    Started again, it goes on where it stopped.
    An experiment that fails does not stop the others; the exit code is then 1.
    """
    from hedgerow.experiments.grid import slug
    from hedgerow.experiments.recipe import load_sweep

    experiments = load_sweep(source, overrides or ())
    _sweep(experiments, out or Path("runs") / slug(experiments.name), workers, json)


@app.command(rich_help_panel="Run")
def resume(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Of a run or a sweep that was interrupted.")],
    workers: WorkersOption = None,
    client_timeout: ClientTimeoutOption = None,
    memory_limit: MemoryLimitOption = None,
    profile: ProfileOption = False,
    engine: PlaceOption = Place.local,
    address: AddressOption = None,
    masks: MasksOption = False,
    json: JsonOption = False,
) -> None:
    """Go on with a run or a sweep where it stopped; the final model is the same as without the stop."""
    measured = context.with_resource(profiled(profile))
    with span("imports"):
        from hedgerow.experiments.grid import Sweep
        from hedgerow.experiments.recipe import load, load_sweep

    if not any((folder / name).is_file() for name in ("config.toml", "sweep.toml")):
        raise CommandError(f"{folder} is no run and no sweep: it has no config.toml and no sweep.toml")
    if (folder / "sweep.toml").is_file():
        if profile or client_timeout or memory_limit or engine is not Place.local or address is not None:
            raise CommandError(
                f"{folder} is a sweep, which runs on this machine; "
                "--profile, --client-timeout, --memory-limit, --engine and --address are for single runs"
            )
        _sweep(load_sweep(folder), folder, workers, json)
        return
    experiment = load(folder)
    assert not isinstance(experiment, Sweep)  # what a run saves has no [sweep]
    limits = Limits(workers, client_timeout, memory_limit)
    _run(experiment, folder, limits, json, measured, engine=engine, address=address, masks=masks)


@app.command(rich_help_panel="Run")
def compare(
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="Of runs or sweeps.")],
    json: JsonOption = False,
) -> None:
    """Compare runs: accuracy, bytes up and down, bytes to reach a target, seconds."""
    terminal.print_rows(folders, json)


@app.command(rich_help_panel="Run")
def audit(
    source: Annotated[
        str, typer.Argument(metavar="RUN_OR_RECIPE", help="A run's folder, a recipe's name, or a TOML file.")
    ],
    overrides: OverridesArgument = None,
    rounds: Annotated[int, typer.Option(min=2, help="At most so many rounds are tried.")] = 30,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Where to write audit.png and audit.json.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Send canaries through a private strategy and listen: is it as private as its ledger says?

    The exit code is 1 when it is not.
    """
    from hedgerow.experiments import audit_report

    if not audit_report.run_audit(source, overrides or (), rounds, out, json):
        raise typer.Exit(1)


@app.command("list", rich_help_panel="Look")
def list_(
    kind: Annotated[
        Kind | None, typer.Argument(metavar="[KIND]", help="One of the six; all where it is left out.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """List recipes, datasets, partitions, models, strategies and transforms, a line each."""
    from hedgerow.experiments import catalogue

    catalogue.print_list([kind] if kind else list(Kind), json)


@app.command(rich_help_panel="Look")
def show(name: Annotated[str, typer.Argument(metavar="RECIPE")]) -> None:
    """Print a recipe: TOML, with comments that explain it."""
    from hedgerow.experiments.recipe import recipe_text

    terminal.print_toml(recipe_text(name))


@app.command(rich_help_panel="Look")
def copy(
    name: Annotated[str, typer.Argument(metavar="RECIPE")],
    file: Annotated[Path, typer.Argument(help="Where to write it; nothing is overwritten.")],
) -> None:
    """Copy a recipe to a file, to change it there."""
    from hedgerow.experiments.recipe import recipe_text

    text = recipe_text(name)
    target = file / f"{name}.toml" if file.is_dir() else file
    try:
        with target.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise CommandError(f"{target} is there already; choose another name, or remove it") from None
    terminal.say(f"wrote {target}; run it with: hedgerow run {target}")


@app.command(rich_help_panel="Look")
def check(source: SourceArgument, overrides: OverridesArgument = None) -> None:
    """Check a configuration without running it; every mistake is told."""
    from hedgerow.experiments.recipe import load_sweep

    cells = load_sweep(source, overrides or ()).cells
    terminal.say(f"{source}: no mistakes; {len(cells)} experiment{'s' * (len(cells) > 1)}:")
    for cell in cells:
        terminal.say(
            f"  {cell.experiment.label}, seed {cell.experiment.seed}, {cell.experiment.rounds} rounds"
        )


@app.command(rich_help_panel="Look")
def data(
    name: Annotated[str, typer.Argument(metavar="DATASET", help="A name (see 'hedgerow list'), or a path.")],
    options: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...", help="Of the loader or the partition: label=sick partition.alpha=0.3"
        ),
    ] = None,
    partition: Annotated[
        str | None,
        typer.Option(help="How samples are dealt.", show_default="natural where there are owners, else iid"),
    ] = None,
    clients: Annotated[int | None, typer.Option(help="Number of clients.")] = None,
    seed: Annotated[int, typer.Option(help="Of the split.")] = 0,
    json: JsonOption = False,
) -> None:
    """Show a data set and how it lies with its clients: rows, classes, sizes, and a heat map."""
    from hedgerow.experiments import catalogue

    catalogue.print_data(name, options or [], partition, clients, seed, json)


@app.command(rich_help_panel="Look")
def privacy(
    epsilon: Annotated[float | None, typer.Option(help="In all rounds together.")] = None,
    delta: Annotated[
        float | None, typer.Option(help="Probability with which epsilon may fail: well below 1 / clients.")
    ] = None,
    rounds: Annotated[int | None, typer.Option(help="Number of rounds.")] = None,
    noise: Annotated[float | None, typer.Option(help="Noise multiplier: sigma / clip norm.")] = None,
    rate: Annotated[
        float | None, typer.Option(help="Chance of a client to be in a round; 1: always is.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Compute the one that is left out of epsilon, delta, rounds, noise and rate, for DP-FedAvg."""
    from hedgerow.experiments import plan

    plan.print_plan(epsilon=epsilon, delta=delta, rounds=rounds, noise_multiplier=noise, rate=rate, json=json)


def _run(
    experiment: "Experiment",
    folder: Path,
    limits: Limits,
    json: bool,
    profile: "Profile | None",
    *,
    engine: Place,
    address: str | None,
    masks: bool,
) -> None:
    with span("imports"):
        from hedgerow.experiments.own_process import cores
        from hedgerow.experiments.run import run_experiment
        from hedgerow.experiments.sweep import rounds_done

    if address is not None and engine is not Place.ray:
        raise CommandError(f"--address {address} is of a Ray cluster; add --engine ray")
    workers = limits.workers or (cores() if engine is Place.local else None)
    with _resumable(folder), terminal.run_progress(experiment, rounds_done(folder)) as on_round:
        run_experiment(
            experiment,
            folder,
            on_round,
            workers=workers,
            client_timeout=limits.client_timeout,
            memory_limit=limits.memory_limit,
            engine=engine.value,
            address=address,
            masks=masks,
        )
    terminal.print_rows([folder], json)
    if profile is not None:
        terminal.print_profile(profile, folder / "trace.json", on_stderr=json)
    terminal.write_report(folder, [folder])


def _sweep(experiments: "Sweep", folder: Path, workers: int | None, json: bool) -> None:
    from hedgerow.experiments.sweep import run_sweep

    with _resumable(folder), terminal.sweep_progress(experiments) as on_progress:
        happened = [on_progress(p) for p in run_sweep(experiments, folder, workers)]
    failed = [p for p in happened if p.kind == "failed"]
    done = [
        folder / cell.folder for cell in experiments.cells if cell.folder not in {p.folder for p in failed}
    ]
    if done:
        terminal.print_rows(done, json)
        terminal.write_report(folder, done)
    for progress in failed:
        terminal.complain(f"{progress.folder} failed after round {progress.round}: {progress.error}")
    if failed:
        terminal.complain(
            f"{len(failed)} of {len(experiments.cells)} failed; try again with: hedgerow resume {folder}"
        )
        raise typer.Exit(1)


@contextmanager
def _resumable(folder: Path) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        terminal.complain(f"interrupted; nothing saved is lost. Go on with: hedgerow resume {folder}")
        raise typer.Exit(130) from None
