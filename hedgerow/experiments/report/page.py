"""One self-contained HTML page about a comparison."""

import json
import os
import platform
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from importlib import metadata, resources
from pathlib import Path
from string import Template
from typing import Any

from hedgerow.experiments.config.errors import show
from hedgerow.experiments.report import against, choice, participation, plot_data, table, tradeoff
from hedgerow.experiments.report import figures as drawing
from hedgerow.experiments.report.compare import row
from hedgerow.experiments.report.headline import Pick, conclude
from hedgerow.experiments.report.intervals import NAME
from hedgerow.experiments.report.results import Group, differing, load_groups
from hedgerow.experiments.report.units import count
from hedgerow.experiments.report.words import WORDS
from hedgerow.experiments.runs.costs import COSTS
from hedgerow.experiments.runs.processes import cores
from hedgerow.files import write_whole


class _Page(Template):
    delimiter = "@@"


def write_report(folder: Path, runs: Sequence[Path]) -> Path:
    """Write `report.html`, which needs no network and no other files.

    A plot with nothing to draw (no accuracy was measured, or the data no longer exists) is left out, and
    the page says why. Pictures are saved from the page itself.

    Args:
        folder: where the file goes; created if missing.
        runs: runs, or folders with runs below them, such as a sweep's.

    Returns:
        The path of the page.

    Raises:
        StoreError: a folder is missing, holds no run, or cannot be read.
        OSError: the page cannot be written.
    """
    folder = Path(folder)
    groups = load_groups(runs)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "report.html"
    write_whole(file, _page(groups, folder).encode())
    return file


def _page(groups: Sequence[Group], folder: Path) -> str:
    rows = [row(group) for group in groups]
    conclusion, drawn = conclude(rows), plot_data.curves(groups)
    base, budget = against.baseline(groups, rows), against.under_budget(groups)
    made = (_fronts(drawn, conclusion.picks), _privacy(groups), _curves(drawn), _split(groups))
    (fronts, _), (privacy, _), (curves, _), (split, _) = made
    figures = {name: figure for _, found in made for name, figure in found.items()}
    light, dark = (" ".join(f"--{n}: {c};" for n, c in colours.items()) for colours in drawing.colours())
    return _Page(_text("report.html")).substitute(
        title=escape(_title(groups)),
        lead=escape(_lead(groups)),
        style=_Page(_text("style.css")).substitute(light=light, dark=dark),
        choice=choice.section(conclusion, rows, base),
        fronts=fronts,
        table=choice.table(rows) + choice.csv_link(against.to_csv(rows, base, budget), _title(groups)),
        caption="".join(f'<p class="note">{escape(line)}</p>' for line in table.caption(rows)),
        against=choice.against_table(rows, base, budget),
        plots=privacy + curves + _participation(groups) + split,
        settings="".join(_setting(key, value) for key, value in _shared(groups).items()),
        words="".join(
            f"<div><dt>{escape(word)}</dt><dd>{escape(text)}</dd></div>" for word, text in WORDS.items()
        ),
        commands=_commands(groups, folder),
        machine=escape(_machine()),
        chart=_text("chart.js"),
        page=_text("page.js"),
        # "<" is escaped, so that no user's text can end the script element.
        figures=json.dumps(figures).replace("<", "\\u003c"),
    )


def _text(name: str) -> str:
    return resources.files("hedgerow.experiments.report").joinpath(name).read_text(encoding="utf-8")


def _fronts(drawn: Sequence[plot_data.Curve], picks: Sequence[Pick]) -> tuple[str, dict[str, Any]]:
    """Accuracy against each kind of cost, side by side: their HTML, and the figures by name."""
    if not drawn:
        return _section("Accuracy", "No accuracy has been measured yet.", ""), {}
    made = {f"accuracy-{cost.name}": drawing.accuracy_cost(drawn, cost, picks) for cost in COSTS}
    figures = {name: figure for name, figure in made.items() if figure is not None}
    plots = "".join(_plot(name, figure["title"], "front") for name, figure in figures.items())
    seeds = max(len(curve.ends) for curve in drawn)
    bars = {1: "", 2: " Small circles: the two seeds."}.get(
        seeds, f" Bars: {NAME} of the mean. Small circles: the seeds."
    )
    note = (
        "Of all clients together. A line is how a way gets there, its large dot where it ends. Grey: the"
        f" Pareto front; nothing else is as accurate for less.{bars} A ring: the way to choose."
    )
    return _section(
        "Accuracy against cost",
        note,
        f'{_legend(drawn)}<div class="plots">{plots}</div>',
    ), figures


def _privacy(groups: Sequence[Group]) -> tuple[str, dict[str, Any]]:
    """The last accuracy against epsilon, if ways of training differ in their privacy budget."""
    families = tradeoff.families(groups)
    if not families:
        return "", {}
    note = (
        "The last accuracy: mean of the seeds, with bars from the lowest to the highest. Epsilon is what was"
        " spent in the whole run. Dashed: not private."
    )
    body = _legend(families) + _plot("accuracy-privacy", "", "rounds")
    return _section("Accuracy against privacy", note, body), {
        "accuracy-privacy": drawing.accuracy_epsilon(families)
    }


def _legend(drawn: Sequence[plot_data.Curve] | Sequence[tradeoff.Family]) -> str:
    return f'<div class="legend">{"".join(choice.chip(each.place, each.label) for each in drawn)}</div>'


def _curves(drawn: Sequence[plot_data.Curve]) -> tuple[str, dict[str, Any]]:
    if not drawn:
        return "", {}
    figure = drawing.accuracy_rounds(drawn)
    note = "Line: mean of the seeds. Band: from the lowest to the highest seed."
    body = _legend(drawn) + _plot("accuracy-rounds", "", "rounds")
    return _section(figure["title"], note, body), {"accuracy-rounds": figure}


def _plot(name: str, title: str, size: str = "") -> str:
    """A place for a figure, and the button that saves it."""
    heading = f"<span>{escape(title)}</span>"
    button = f'<button type="button" data-picture="{name}" aria-label="Save {name} as PNG">PNG</button>'
    top = f"<h3>{heading}{button}</h3>" if title else f'<div class="tools">{button}</div>'
    return (
        f'<div>{top}<div class="plot" tabindex="0" role="group" data-figure="{name}" data-size="{size}"'
        f' aria-label="{escape(title or name)}. Arrow keys go from point to point.">'
        '<div class="tip" role="status" hidden></div></div></div>'
    )


def _split(groups: Sequence[Group]) -> tuple[str, dict[str, Any]]:
    """The heat map of the first run's split, or why there is none."""
    from hedgerow.experiments.config.parse import parse

    run = groups[0].first
    title = "The split: samples of each client in each class"
    try:
        federation = parse(run.config, str(run.folder)).federation()
    except (ValueError, OSError) as error:
        return _section(title, f"The split cannot be drawn: {error}", ""), {}
    counts, classes = federation.counts(), federation.dataset.strata()[0]
    only = (
        f" Only the first {plot_data.MOST_CLIENTS} are drawn." if len(counts) > plot_data.MOST_CLIENTS else ""
    )
    sizes = federation.sizes()
    text = (
        f"{len(counts)} clients with {sizes.min()} to {sizes.max()} samples, as split with seed"
        f" {run.seed}.{only}"
    )
    figure = drawing.clients_classes(counts, federation.names, classes)
    return _section(title, text, _plot("clients-classes", "")), {"clients-classes": figure}


def _participation(groups: Sequence[Group]) -> str:
    """How much each client, or each class of devices, took part; empty if no share is known."""
    found = {group.label: participation.participation(group) for group in groups}
    tables = "".join(
        f"<h3>{escape(label)}</h3>{participation.table(parts)}" for label, parts in found.items() if parts
    )
    text = "The share of its local steps that fitted into the time budget, over the answers that counted."
    return _section("How much each took part", text, tables) if tables else ""


def _section(title: str, text: str, body: str) -> str:
    return f'<section><h2>{escape(title)}</h2><p class="note">{escape(text)}</p>{body}</section>'


def _title(groups: Sequence[Group]) -> str:
    names = dict.fromkeys(str(g.first.config.get("name", g.first.folder.name)) for g in groups)
    return ", ".join(names)


def _lead(groups: Sequence[Group]) -> str:
    settings = _shared(groups)
    seeds = max(len(g.runs) for g in groups)
    parts = [
        f"{count(len(groups), 'way')} of training, {count(seeds, 'seed')}",
        f"{settings['rounds']} rounds" if "rounds" in settings else "",
        str(settings.get("data.name", "")),
        f"{settings['data.partition.clients']} clients" if "data.partition.clients" in settings else "",
    ]
    return " · ".join(part for part in parts if part)


def _shared(groups: Sequence[Group]) -> dict[str, Any]:
    apart = set(differing(groups))
    return {key: value for key, value in groups[0].settings.items() if key not in apart}


def _setting(key: str, value: Any) -> str:
    text = value if isinstance(value, str) else show(value)
    return f"<div><dt>{escape(key)}</dt><dd>{escape(text)}</dd></div>"


def _commands(groups: Sequence[Group], folder: Path) -> str:
    """The commands that repeat the runs: the sweep if there is one, else run by run."""
    runs = [run.folder for group in groups for run in group.runs]
    parents = {run.resolve().parent for run in runs}
    if len(parents) == 1 and (runs[0].parent / "sweep.toml").is_file():
        again = [f"hedgerow sweep {_relative(runs[0].parent / 'sweep.toml', folder)} --out ../again"]
    else:
        again = [
            f"hedgerow run {_relative(run / 'config.toml', folder)} --out ../again/{number}"
            for number, run in enumerate(runs, 1)
        ]
    text = escape("\n".join([*again, "hedgerow compare ../again"]))
    return f'<p class="note">From the folder of this page. Same seeds, same models.</p><pre>{text}</pre>'


def _relative(file: Path, folder: Path) -> str:
    return shlex.quote(Path(os.path.relpath(file, folder)).as_posix())


def _machine() -> str:
    versions = []
    for name in ("hedgerow", "flwr", "torch", "numpy"):
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    machine = f"{platform.system()} {platform.machine()}, {count(cores(), 'core')}"
    return f"Written {now} on {machine}, Python {platform.python_version()}, {', '.join(versions)}."
