"""The command that rehearses a whole federation on this machine, with its devices' files."""

import shlex
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hedgerow.experiments.cli import terminal
from hedgerow.experiments.cli.federation import mistakes
from hedgerow.experiments.cli.options import SourceArgument
from hedgerow.experiments.config.errors import CommandError

if TYPE_CHECKING:
    from hedgerow.experiments.config.schema import Experiment


def rehearse(
    source: SourceArgument,
    more: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILE|KEY=VALUE]...",
            help="More device files, after --data; and keys of the recipe to change, such as rounds=5.",
        ),
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="One for each device, which is named after its file: .csv, .npz, or a folder of pictures.",
            show_default=False,
        ),
    ] = None,
    masks: Annotated[
        bool, typer.Option("--masks", help="Mask the updates, with thresholds low enough for these devices.")
    ] = False,
    graphs: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            show_default=False,
            help="Have the devices train by these, from 'hedgerow export', without torch.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where to keep the run.", show_default="it is not kept"),
    ] = None,
) -> None:
    """Rehearse a federation on this machine: a coordinator and a device for each file, as real processes.

    TLS, keys and kits are as in a deployment; at the end it says what would differ there, and which commands
    to run there. It fails if a device counts in no round.
    """
    from hedgerow.experiments.runs.store import RunFolder

    files, overrides = _sorted_out(data or (), more or ())
    given = _experiment(source, overrides)
    _check_files(given, files)
    masking = _masking(given, files) if masks else []
    experiment = _experiment(source, [f"server.min_clients={len(files)}", *masking, *overrides])
    _check_cohort(experiment, files)
    if out is not None and out.exists() and any(out.iterdir()):
        raise CommandError(f"{out} is not empty; a rehearsal starts from scratch: give another --out")
    home = Path(tempfile.mkdtemp(prefix="hedgerow-rehearsal-"))
    run = (out or home / "run").absolute()
    kept = True
    try:
        kept = not _played(experiment, files, home, run, graphs)
        terminal.print_rows([run], json=False)
        if why := what_went_wrong(RunFolder(run).rounds(), files):
            kept = True
            terminal.complain(why)
            raise typer.Exit(1)
        for line in _afterwards(experiment, source, [*masking, *overrides], files, graphs):
            terminal.say(line)
    finally:
        if kept:
            terminal.tell(f"the logs of coordinator and devices are in {home / 'federation' / 'logs'}")
        else:
            shutil.rmtree(home)


def _sorted_out(data: Sequence[Path], more: Sequence[str]) -> tuple[Mapping[str, Path], list[str]]:
    """`{name of a device: its file}`, and the overrides."""
    overrides = [each for each in more if "=" in each and not Path(each).exists()]
    found = [*data, *(Path(each) for each in more if each not in overrides)]
    if not data:
        raise CommandError("no data is given; give the devices' files: --data a.csv b.csv c.csv")
    files: dict[str, Path] = {}
    for file in found:
        if (other := files.setdefault(file.stem, file)) is not file:
            raise CommandError(f"{other} and {file} would both be the device {file.stem!r}; rename one")
    return files, overrides


def _experiment(source: str, overrides: Sequence[str]) -> "Experiment":
    from hedgerow.experiments.config.device_recipe import one_experiment
    from hedgerow.experiments.config.recipe import load

    return one_experiment(source, load(source, overrides))


def _check_files(experiment: "Experiment", files: Mapping[str, Path]) -> None:
    """Check that every file fits the recipe's schema, before anything is started."""
    from hedgerow.datasets.own_file import load_own
    from hedgerow.datasets.packing import DataFileError
    from hedgerow.recipe.own_data import DoesNotFit

    if experiment.own_schema is None:
        raise CommandError(
            f"data.name is {experiment.data.name!r}; to rehearse with files it must be 'own', with their"
            " columns, label and classes (docs/devices.md)"
        )
    if not experiment.elsewhere:
        raise CommandError("the recipe has data.files, which are for simulations; leave them out")
    wrong = []
    for file in files.values():
        try:
            load_own(file, experiment.own_schema)
        except (DoesNotFit, DataFileError) as error:
            wrong.append(str(error))
    if wrong:
        raise CommandError("\n".join(wrong))


def _masking(experiment: "Experiment", files: Mapping[str, Path]) -> list[str]:
    """Overrides that mask a recipe's updates with this few devices: all are needed, and none is corrupt."""
    masked = experiment.strategy().pipeline.sum_only
    name = [] if masked else ["strategy.name=secure_fedavg"]
    return [*name, f"strategy.min_clients={len(files)}", "strategy.dropout=0.0", "strategy.corrupt=0.0"]


def _check_cohort(experiment: "Experiment", files: Mapping[str, Path]) -> None:
    asked = experiment.strategy_config.clients_per_round
    if asked is not None and asked > len(files):
        raise CommandError(
            f"strategy.clients_per_round is {asked}, but only {len(files)} files are given; give"
            f" strategy.clients_per_round={len(files)}, or more files"
        )
    secure = experiment.strategy().pipeline.protection.secure
    if secure is not None and secure.min_clients > len(files):
        raise CommandError(
            f"with masks the recipe needs {secure.min_clients} devices, but only {len(files)} files are"
            " given; --masks lowers its thresholds"
        )


def _played(
    experiment: "Experiment", files: Mapping[str, Path], home: Path, run: Path, graphs: Path | None
) -> bool:
    """Carry the experiment out with a process for each device."""
    from hedgerow.coordinator.folder import FederationFolder
    from hedgerow.coordinator.ports import free_port
    from hedgerow.coordinator.rehearsal import Rehearsal
    from hedgerow.experiments.cli.coordinate import coordinate
    from hedgerow.experiments.runs import coordinated
    from hedgerow.experiments.runs.graphs import checked_graphs

    with mistakes():
        folder = FederationFolder.make(home / "federation")
        folder.at(port=free_port())
        taken = "" if graphs is None else checked_graphs(experiment, graphs)[0].hash
        devices = Rehearsal(folder, home, masked=experiment.strategy().pipeline.sum_only, graphs=taken)

        def begun(page: str) -> None:
            terminal.tell(f"{experiment.name}: {len(files)} devices on this machine; status page: {page}")
            devices.start(files)

        try:
            if not coordinate(experiment, run, folder, begun, graphs=graphs, report=devices.check):
                raise typer.Exit(130)
        finally:
            devices.end()
            (run / coordinated.FILE).unlink(missing_ok=True)  # the federation ends here, but the run stays
    return True


def what_went_wrong(lines: Iterable[Mapping[str, Any]], devices: Iterable[str]) -> str:
    """Why rounds or devices did not count; empty if all is well.

    Args:
        lines: of `metrics.jsonl`.
    """
    rounds = [line for line in lines if line["round"]]
    if failed := [line["failed"] for line in rounds if line["failed"]]:
        return f"{len(failed)} of {len(rounds)} rounds changed nothing: {failed[0]}"
    for name in devices:
        asked = [line for line in rounds if name in line["clients"]]
        if asked and all(name in line["dropped"] for line in asked):
            return f"device {name!r} counted in no round: {asked[0]['dropped'][name]}"
    return ""


def _afterwards(
    experiment: "Experiment",
    source: str,
    overrides: Sequence[str],
    files: Mapping[str, Path],
    graphs: Path | None,
) -> list[str]:
    """How to get from the rehearsal to a deployment, and what differs there."""
    from hedgerow.client.policy import Policy

    recipe = shlex.join([source, *overrides])
    names = [str(file) for file in files.values()]
    listed = ", ".join(f'"{name}"' for name in names)
    strategy = experiment.strategy()
    stage = ".masked" if strategy.pipeline.sum_only else ""
    offered = "" if graphs is None else f" --graphs {shlex.quote(str(graphs))}"
    lines = [
        "",
        "The same in a deployment:",
        f"  hedgerow up {recipe}{offered} --host NAME_OR_IP    # on the coordinator, which has no data",
        f"  hedgerow invite {shlex.join(files)}    # there; take each kit to its device",
    ]
    lines += [
        f"  hedgerow join {shlex.quote(name + '.kit')} --data {shlex.quote(str(file))}    # on that device"
        for name, file in files.items()
    ]
    lines += [
        "In one process, with the same model:",
        f"  hedgerow run {recipe} {shlex.quote(f'data.files=[{listed}]')}",
        "What differs there:",
        "- Each device decides for itself. Here all of them answered everything they were asked.",
    ]
    measures = experiment.evaluation.clients is not None
    if refused := Policy().refusals(f"train{stage}", strategy):
        lines.append(f"  With the policy that 'join' proposes, a device would refuse this run: {refused[0]}.")
    elif measures and (refused := Policy().refusals(f"evaluate{stage}", strategy)):
        lines.append(
            f"  With the policy that 'join' proposes, a device would evaluate no model: {refused[0]}."
        )
    if graphs is not None:
        lines.append("- Each policy must list the graphs, by their hash or by the key that signed them.")
    lines.append("- The register of devices is not signed, neither here nor there: hedgerow register sign.")
    if experiment.server.deadline is None:
        lines.append(
            "- An absent device holds up a round, because no [server] deadline is set: server.deadline=120."
        )
    lines.append("- Certificate, kits and keys are new, and each device's are created on the device.")
    return lines
