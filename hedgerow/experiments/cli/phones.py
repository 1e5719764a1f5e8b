"""What `up` and `invite` do for phones: a page, an invitation, and what there is to know about both."""

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hedgerow.experiments.cli import terminal
from hedgerow.experiments.config.errors import CommandError

if TYPE_CHECKING:
    from hedgerow.coordinator.folder import FederationFolder
    from hedgerow.coordinator.phones import Phones
    from hedgerow.experiments.config.schema import Experiment

PhonesOption = Annotated[
    int | None,
    typer.Option(
        "--phones", metavar="N", min=1, max=4096, show_default=False,
        help="Let N phones join by a page in their browser, whose code is shown.",
    ),
]  # fmt: skip
HoursOption = Annotated[
    float,
    typer.Option("--phones-hours", metavar="HOURS", min=0.01, help="For which the code lets phones in."),
]
OriginsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--phones-origin", metavar="URL", show_default="as before, or none",
        help="Where the same page is served too, such as https://pages.example; the code leads to the first.",
    ),
]  # fmt: skip
DAY = 24.0


@dataclass(frozen=True)
class Asked:
    """What a command was asked to do for phones.

    Attributes:
        phones: that may join; `None` to invite none, and go on as before.
        hours: for which the invitation holds.
        origins: of pages elsewhere; `None` for those of before.
        graphs: whether the command brings graphs for the run.
    """

    phones: int | None = None
    hours: float = DAY
    origins: Sequence[str] | None = None
    graphs: bool = False


@dataclass(frozen=True)
class Opened:
    """What was opened for phones: lines for the operator, and the address in the code, if any was made."""

    lines: Sequence[str] = ()
    address: str = ""


def check_asked(asked: Asked, experiment: "Experiment", run: Path) -> None:
    """Check that phones could join a run, before anything starts.

    Raises:
        NoBuild: there is no page for them.
        CommandError: they could take no part in it, or the address of a page elsewhere is none.
    """
    from hedgerow.coordinator.folder import FederationError
    from hedgerow.coordinator.phone_build import build_folder, load
    from hedgerow.coordinator.phones import checked_page
    from hedgerow.experiments.report.for_phones import why_not
    from hedgerow.experiments.runs.graphs import offer_of

    try:
        for page in asked.origins or ():
            checked_page(page)
    except FederationError as error:
        raise CommandError(str(error)) from error
    if asked.phones is None:
        return
    load(build_folder())
    graphs = asked.graphs or offer_of(run) is not None
    if why := why_not(experiment, graphs=graphs):
        raise CommandError(f"phones can take no part in {experiment.name!r}: {why}")


def opened_for_phones(
    folder: "FederationFolder", experiment: "Experiment", run: Path, asked: Asked, *, more: bool = False
) -> Opened:
    """Serve the page for a run, and invite phones if that is asked.

    Args:
        run: its folder, which offers its graphs.
        more: whether so many more phones may join; otherwise so many in all.

    Raises:
        NoBuild: phones are invited, and there is no page.
        FederationError, OSError: the federation's folder cannot be read or written.
    """
    from hedgerow.coordinator.phone_build import NoBuild, build_folder, load
    from hedgerow.coordinator.phones import Phones, checked_page, load_phones, save_phones
    from hedgerow.experiments.report.for_phones import about, sentence, why_not
    from hedgerow.experiments.runs.graphs import offer_of

    before = load_phones(folder)
    if asked.phones is None and before is None and not asked.origins:
        return Opened()
    try:
        build = load(build_folder()).hash
    except NoBuild as error:
        if asked.phones is not None:
            raise
        return Opened([f"phones that have joined cannot load their page again: {error}"])
    offer = offer_of(run)
    fits = offer is not None and not why_not(experiment, graphs=True)
    told = about(experiment, offer, build) if fits and offer is not None else {}
    given = None if asked.origins is None else tuple(checked_page(each) for each in asked.origins)
    pages = given if given is not None else before.pages if before is not None else ()
    save_phones(folder, phones := Phones(build, pages, told))
    lines = [f"page for phones: build {build}", *([sentence(told)] if told else [])]
    if asked.phones is None:
        return Opened(lines)
    return _invited(folder, phones, asked, lines, more=more)


def _invited(
    folder: "FederationFolder", phones: "Phones", asked: Asked, lines: Sequence[str], *, more: bool
) -> Opened:
    from hedgerow.coordinator.members import changed_members, load_members
    from hedgerow.coordinator.phones import invite_phones, page_address

    assert asked.phones is not None
    there = sum(device.phone for device in load_members(folder).devices.values())
    places = asked.phones if more else asked.phones - there
    if places < 1:
        with changed_members(folder) as members:
            members.open = None
        return Opened([*lines, f"{there} phones have joined, and no more may: hedgerow invite --phones N"])
    address = page_address(folder, invite_phones(folder, places, asked.hours), phones.pages)
    until = f"{datetime.now() + timedelta(hours=asked.hours):%d %B %Y, %H:%M}"
    who = "1 phone" if places == 1 else f"{places} phones"
    return Opened(
        [*lines, _trusted(folder), f"{who} can join until {until}, by this code or the address below it;"
         " whoever sees it can join"],
        address,
    )  # fmt: skip


def _trusted(folder: "FederationFolder") -> str:
    """What a phone must trust before it opens the page."""
    from hedgerow.coordinator.certificates import authority, issuer, shown

    if folder.settings.own_ca:
        file = authority(folder).certificate
        return (
            f"phones must trust this federation's own CA first: install {file} on each as a CA certificate,"
            " or give --certificate and --key of one that phones trust already (docs/phones.md)"
        )
    found = shown(folder)
    return f"phones must trust who signed {found.certificate}: {issuer(found)}; until {found.ends:%d %B %Y}"


def show_code(address: str) -> None:
    """Draw the code of an address, where the terminal can show it."""
    from hedgerow.coordinator.code import as_text

    if _can_draw():
        terminal.tell(as_text(address))


def _can_draw() -> bool:
    """Whether the terminal can show half blocks."""
    try:
        "█▀▄".encode(sys.stderr.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def invite_more(folder: "FederationFolder", phones: int, hours: float) -> None:
    """Invite more phones to a federation's present run, and show the code."""
    from hedgerow.experiments.config.device_recipe import one_experiment
    from hedgerow.experiments.config.recipe import load

    asked = Asked(phones, hours)
    found = folder.read("job.json", {}).get("run")
    if not found:
        raise CommandError(
            f"{folder.path} has no run yet; start one for phones: hedgerow up RECIPE --phones N"
        )
    run = Path(found)
    experiment = one_experiment(found, load(run))
    check_asked(asked, experiment, run)
    opened = opened_for_phones(folder, experiment, run, asked, more=True)
    for line in opened.lines:
        terminal.tell(line)
    show_code(opened.address)
    terminal.say(opened.address)


def phones_page(
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FOLDER", help="Copy it there, for another web server.", show_default=False
        ),
    ] = None,
    coordinator: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Which the page may call, such as https://fl.example:8470.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Show where the page for phones is, and its hash; or copy it, with the headers it should be sent with.

    The coordinator must then list the other server: hedgerow up --phones N --phones-origin URL.
    """
    from hedgerow.coordinator.folder import FederationError
    from hedgerow.coordinator.phone_build import build_folder, load
    from hedgerow.coordinator.phone_page import headers_elsewhere
    from hedgerow.coordinator.phones import checked_page, origin_of

    folder = build_folder()
    build = load(folder)
    if out is None:
        terminal.say(str(folder))
        terminal.tell(f"build {build.hash}")
        return
    if coordinator is None:
        raise CommandError("--coordinator is missing: the page may call no other address than it says")
    try:
        called = origin_of(checked_page(coordinator))
    except FederationError as error:
        raise CommandError(str(error)) from error
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CommandError(f"{out} is not empty; give another --out")
    shutil.copytree(folder, out, dirs_exist_ok=True)
    terminal.tell(f"{out} has build {build.hash}; serve it by HTTPS, with these headers:")
    for name, value in headers_elsewhere(called).items():
        terminal.say(f"{name}: {value}")
