"""Commands that run something. They import heavy modules inside, so that `--help` is quick."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hedgerow.experiments.cli import terminal
from hedgerow.experiments.cli.imports import loaded_whole
from hedgerow.experiments.cli.options import (
    AddressOption,
    ClientTimeoutOption,
    DeviceOption,
    EngineOption,
    ExtendArgument,
    JobsOption,
    JsonOption,
    MasksOption,
    MemoryLimitOption,
    OutOption,
    OverridesArgument,
    PrecisionOption,
    ProfileOption,
    RecordOption,
    RunEngine,
    SourceArgument,
    TrainerOption,
    WorkersOption,
    in_run,
    profiled,
    run_options,
)
from hedgerow.experiments.cli.progress import run_progress, sweep_progress
from hedgerow.experiments.config.errors import CommandError
from hedgerow.extras import require
from hedgerow.spans import span

if TYPE_CHECKING:
    from hedgerow.experiments.config.expand import Sweep
    from hedgerow.experiments.config.schema import Experiment
    from hedgerow.experiments.runs.profile import Profile
    from hedgerow.locks import HeldFolder
    from hedgerow.types import RunOptions


def run(
    context: typer.Context,
    source: SourceArgument,
    overrides: OverridesArgument = None,
    out: OutOption = None,
    trainer: TrainerOption = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    workers: WorkersOption = None,
    client_timeout: ClientTimeoutOption = None,
    memory_limit: MemoryLimitOption = None,
    profile: ProfileOption = False,
    engine: EngineOption = RunEngine.local,
    address: AddressOption = None,
    masks: MasksOption = False,
    record: RecordOption = False,
    json: JsonOption = False,
) -> None:
    """Run one experiment, print its cost and write a report.

    The folder then holds the resolved configuration, a line for each round, checkpoints and the final model.
    """
    measured = context.with_resource(profiled(profile))
    with span("imports"):
        from hedgerow.experiments.config.expand import Sweep
        from hedgerow.experiments.config.names import slug
        from hedgerow.experiments.config.recipe import load
        from hedgerow.experiments.config.schema import to_toml
        from hedgerow.experiments.runs.store import RunFolder
        from hedgerow.locks import hold

        also = [*in_run(trainer, device, precision), *(["run.record=true"] if record else [])]
        experiment = load(source, [*(overrides or ()), *also])
    if isinstance(experiment, Sweep):
        count = len(experiment.cells)
        raise CommandError(f"{source} describes {count} experiments; run them with: hedgerow sweep {source}")
    folder = out or Path("runs") / slug(experiment.name)
    options = run_options(workers, client_timeout, memory_limit, engine, address, masks)
    with hold(folder, keep=True) as held:
        there = RunFolder.create(folder, to_toml(experiment)) if (folder / "config.toml").is_file() else None
        if there is not None and there.begun and not there.finished:
            done = len(there.rounds())
            raise CommandError(
                f"{folder} holds this experiment, {done} of {experiment.rounds} rounds done;"
                f" continue with: hedgerow resume {folder}"
            )
        _run(experiment, held, options, json, measured)


def sweep(
    source: SourceArgument,
    overrides: OverridesArgument = None,
    out: OutOption = None,
    trainer: TrainerOption = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    jobs: JobsOption = None,
    json: JsonOption = False,
) -> None:
    """Run every combination of the values in \\[sweep], in parallel; compare them and write a report.

    Values are listed, or drawn from ranges as \\[search] says. Started again, it continues where it stopped.
    An experiment that fails does not stop the others; its row says so, and the exit code is then 1.
    """
    from hedgerow.experiments.config.names import slug
    from hedgerow.experiments.config.recipe import load_sweep

    experiments = load_sweep(source, [*(overrides or ()), *in_run(trainer, device, precision)])
    _sweep(experiments, out or Path("runs") / slug(experiments.name), jobs, json)


def resume(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Of a run or a sweep.")],
    overrides: ExtendArgument = None,
    jobs: JobsOption = None,
    workers: WorkersOption = None,
    client_timeout: ClientTimeoutOption = None,
    memory_limit: MemoryLimitOption = None,
    profile: ProfileOption = False,
    engine: EngineOption = RunEngine.local,
    address: AddressOption = None,
    masks: MasksOption = False,
    json: JsonOption = False,
) -> None:
    """Continue a run or a sweep where it stopped; the final model is the same as without the stop.

    With more rounds, such as rounds=80, one that has ended continues too.
    """
    measured = context.with_resource(profiled(profile))
    with span("imports"):
        from hedgerow.experiments.config.expand import Sweep
        from hedgerow.experiments.config.recipe import load, load_sweep
        from hedgerow.locks import hold

    if not any((folder / name).is_file() for name in ("config.toml", "sweep.toml")):
        raise CommandError(f"{folder} is neither a run nor a sweep: it has no config.toml and no sweep.toml")
    if (folder / "sweep.toml").is_file():
        alone = (
            profile,
            workers,
            client_timeout,
            memory_limit,
            masks,
            engine is not RunEngine.local,
            address is not None,
        )
        if any(alone):
            raise CommandError(
                f"{folder} is a sweep, which runs on this machine; --profile, --workers, --client-timeout,"
                " --memory-limit, --masks, --engine and --address are for single runs, and --jobs for sweeps"
            )
        _sweep(load_sweep(folder, overrides or ()), folder, jobs, json, extend=True)
        return
    if jobs is not None:
        raise CommandError(f"{folder} is a single run; --jobs is for sweeps, and --workers for runs")
    experiment = load(folder, overrides or ())
    assert not isinstance(experiment, Sweep)  # a run's configuration has no [sweep]
    options = run_options(workers, client_timeout, memory_limit, engine, address, masks)
    with hold(folder, keep=True) as held:
        _run(experiment, held, options, json, measured, extend=True)


def compare(
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="Of runs or sweeps.")],
    json: JsonOption = False,
) -> None:
    """Compare runs: accuracy, bytes up and down, bytes to reach a target, seconds."""
    terminal.print_rows(folders, json)


def audit(
    source: Annotated[
        str, typer.Argument(metavar="RUN_OR_RECIPE", help="A run's folder, a recipe's name, or a TOML file.")
    ],
    overrides: OverridesArgument = None,
    rounds: Annotated[int, typer.Option(min=2, help="Most rounds to run.")] = 30,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Where to write audit.png and audit.json.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Send canaries through a private strategy: is it as private as its ledger says?

    The exit code is 1 if it is not.
    """
    from hedgerow.experiments.audit.report import run_audit

    if not run_audit(source, overrides or (), rounds, out, json):
        raise typer.Exit(1)


def _require_what_it_needs(experiments: "Sequence[Experiment]") -> None:
    """Raise `ModuleNotFoundError` before anything starts, because both are first used some seconds later."""
    from hedgerow.client.trainers import TRAINERS

    require("flwr")
    if any(TRAINERS.is_built_in(experiment.run.trainer) for experiment in experiments):
        require("torch")


def _run(
    experiment: "Experiment",
    held: "HeldFolder",
    options: "RunOptions",
    json: bool,
    profile: "Profile | None",
    *,
    extend: bool = False,
) -> None:
    _require_what_it_needs([experiment])
    folder = held.path
    terminal.tell(f"{experiment.name}: loading data and model")
    with span("imports"), loaded_whole():
        from hedgerow.experiments.runs.failures import told_once
        from hedgerow.experiments.runs.processes import cores
        from hedgerow.experiments.runs.run import run_experiment
        from hedgerow.experiments.runs.sweep import rounds_done

    chosen = experiment.options(options)
    if chosen.workers is None and chosen.engine == "local":
        chosen = replace(chosen, workers=cores() if chosen.device in (None, "cpu") else 1)
    with (
        _resumable(folder),
        run_progress(experiment, rounds_done(folder)) as shown,
        told_once(shown) as on_round,
    ):
        run_experiment(experiment, held, on_round, options=chosen, extend=extend)
    _tell([folder], folder, json)
    if profile is not None:
        terminal.print_profile(profile, folder / "trace.json", on_stderr=json)


def _sweep(experiments: "Sweep", folder: Path, jobs: int | None, json: bool, *, extend: bool = False) -> None:
    _require_what_it_needs([cell.experiment for cell in experiments.cells])
    if experiments.search is not None and experiments.search.adaptive:
        require("optuna")
    from hedgerow.experiments.runs.sweep import run_sweep

    terminal.tell(
        f"{experiments.name}: starting with {len(experiments.cells)} experiments; loading takes some seconds"
    )
    with _resumable(folder), sweep_progress(experiments) as on_progress:
        happened = [on_progress(p) for p in run_sweep(experiments, folder, jobs, extend=extend)]
    planned = [folder / p.folder for p in happened if p.kind == "planned"]
    failed = [p for p in happened if p.kind == "failed"]
    there = [run for run in planned if (run / "config.toml").is_file()]
    if there:
        _tell(there, folder, json)
    for progress in failed:
        terminal.complain(f"{progress.folder} failed after round {progress.round}: {progress.error}")
    if failed:
        terminal.complain(f"{len(failed)} of {len(planned)} failed; try again with: hedgerow resume {folder}")
        raise typer.Exit(1)


def _tell(runs: list[Path], folder: Path, json: bool) -> None:
    """Write the report and print the table; if one fails, the other is still done."""
    try:
        terminal.write_report(folder, runs)
    finally:
        terminal.print_rows(runs, json)


@contextmanager
def _resumable(folder: Path) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        terminal.complain(f"interrupted; nothing saved is lost. Continue with: hedgerow resume {folder}")
        raise typer.Exit(130) from None
