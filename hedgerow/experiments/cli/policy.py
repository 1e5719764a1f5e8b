"""Commands that show a device's policy, and test a run against it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hedgerow.experiments.cli import terminal
from hedgerow.experiments.cli.options import OverridesArgument
from hedgerow.experiments.config.errors import CommandError

if TYPE_CHECKING:
    from hedgerow.client.guard import Guard
    from hedgerow.experiments.config.schema import Experiment
    from hedgerow.strategies.strategy import Strategy

policy = typer.Typer(no_args_is_help=True, help="What a device answers, whatever a server asks.")

FolderOption = Annotated[
    Path | None,
    typer.Option(
        "--device", metavar="FOLDER", help="The device's enrolment folder.", show_default="not enrolled"
    ),
]
FileOption = Annotated[
    Path | None,
    typer.Option("--policy", metavar="FILE", help="Its policy, if not FOLDER/policy.toml."),
]


@policy.command("show")
def show(device: FolderOption = None, file: FileOption = None) -> None:
    """Print a device's policy, as a file to edit and put into its folder; and what it has answered so far.

    Without a policy, these are the defaults for a device with or without an enrolment.
    """
    from hedgerow.client.policy import PolicyError
    from hedgerow.client.policy_file import policy_text

    guard = _guard(device, file, "")
    terminal.say(policy_text(guard.policy).rstrip("\n"))
    if guard.folder is None:
        return
    try:
        told = {name: ledger.releases for name, ledger in guard.ledgers().items()}
        terminal.tell(
            f"{guard.answers} updates have left the device: {told['client_epsilon']} with noise of clients,"
            f" {told['sample_epsilon']} with noise in training; every answer is in"
            f" {guard.folder / 'answers.jsonl'}"
        )
    except (PolicyError, ValueError, OSError) as error:
        raise CommandError(str(error)) from error


@policy.command("test")
def trial(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="As in a run config.")],
    overrides: OverridesArgument = None,
    device: FolderOption = None,
    file: FileOption = None,
    data: Annotated[str, typer.Option(metavar="NAME_OR_PATH", help="The device's own data.")] = "",
    graphs: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            show_default=False,
            help="By which it would train; what 'hedgerow export' wrote.",
        ),
    ] = None,
) -> None:
    """Say whether a device would take part in a run, and if not, which rules forbid it. Nothing is sent.

    Exits with 1 if it would not.
    """
    from hedgerow.client.policy import AgainstPolicy, PolicyError, strategy_hash
    from hedgerow.experiments.config.device_recipe import device_run

    guard = _guard(device, file, data)
    try:
        experiment = device_run(recipe, overrides or [], guard, "this device").experiment
        strategy = experiment.strategy()
        stage = ".masked" if strategy.pipeline.sum_only else ""
        guard.check(kind := f"train{stage}", strategy)
        measured = _measured(guard, f"evaluate{stage}", experiment, strategy)
        taken = "" if graphs is None else _taken(guard, graphs, strategy)
    except AgainstPolicy as error:
        for rule in str(error).split("; rule "):
            terminal.say(f"refused: rule {rule.removeprefix('rule ')}")
        raise typer.Exit(1) from None
    except (PolicyError, ImportError) as error:
        raise CommandError(str(error)) from error
    terminal.say(f"answered: {kind} messages of {strategy.name}, {strategy.pipeline.name}")
    for line in filter(None, (measured, taken)):
        terminal.say(line)
    terminal.say(f"strategy {strategy_hash(strategy)}")


def _measured(guard: "Guard", kind: str, experiment: "Experiment", strategy: "Strategy") -> str:
    """Whether it would measure the run's models; an empty text where the run asks for none."""
    if experiment.evaluation.clients is None:
        return ""
    if broken := guard.policy.refusals(kind, strategy):
        return f"refused, while it takes part: {kind} messages: {'; '.join(broken)}"
    under = ", under the mask" if strategy.pipeline.sum_only else ""
    return f"answered: {kind} messages: it measures models on what it holds out{under}"


def _taken(guard: "Guard", folder: Path, strategy: "Strategy") -> str:
    """What is said of graphs that the device takes; raises `AgainstPolicy` where it does not."""
    from hedgerow.graphs.errors import BadGraphs
    from hedgerow.graphs.offer import read_signed

    try:
        found, offer = read_signed(folder)
    except (BadGraphs, OSError) as error:
        raise CommandError(str(error)) from error
    guard.check_offer(offer, strategy)
    megabytes = guard.check_graphs(found) / 2**20
    return f"taken: graphs {offer.hash}; a run of one takes at most {megabytes:,.1f} MB"


def _guard(device: Path | None, file: Path | None, data: str) -> "Guard":
    from hedgerow.client.guard import node_guard
    from hedgerow.client.policy import PolicyError

    given = {"enrolment": device, "policy": file, "data": data}
    try:
        return node_guard({key: str(value) for key, value in given.items() if value})
    except PolicyError as error:
        raise CommandError(str(error)) from error
