"""One self-contained HTML page about a comparison, and its plots as PNG."""

import json
import os
import platform
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from importlib import metadata, resources
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import Any

from hedgerow.experiments.config.errors import show
from hedgerow.experiments.report import participation, plot_data, table, tradeoff
from hedgerow.experiments.report.compare import Row, row
from hedgerow.experiments.report.headline import headline
from hedgerow.experiments.report.results import Group, differing, load_groups
from hedgerow.experiments.report.units import count
from hedgerow.experiments.runs.processes import cores
from hedgerow.files import write_whole


class _Page(Template):
    delimiter = "@@"


def write_report(folder: Path, runs: Sequence[Path]) -> Path:
    """Write `report.html`, `accuracy-rounds.png`, `accuracy-bytes.png` and `clients-classes.png`.

    If some runs differ only in epsilon, also `accuracy-epsilon.png`. The page needs
    no network and no other files. A plot with nothing to draw (no accuracy was
    measured, or the data no longer exists) is left out, and the page says why.

    Args:
        folder: where the files go; created if missing.
        runs: runs, or folders with runs below them, such as a sweep's.

    Returns:
        The path of the page.

    Raises:
        StoreError: a folder is missing, holds no run, or cannot be read.
        ImportError: matplotlib or plotly is missing.
    """
    missing = [name for name in ("matplotlib", "plotly") if find_spec(name) is None]
    if missing:
        raise ImportError(
            f'a report needs {" and ".join(missing)}; install with: pip install "hedgerow[report]"'
        )
    folder = Path(folder)
    groups = load_groups(runs)
    folder.mkdir(parents=True, exist_ok=True)
    curve_plots, curve_figures = _curves(groups, folder)
    budget_plots, budget_figures = _budgets(groups, folder)
    split_plot, split_figures = _split(groups, folder)
    parts = _participation(groups)
    file = folder / "report.html"
    figures = {**budget_figures, **curve_figures, **split_figures}
    page = _page(groups, folder, budget_plots + curve_plots + parts + split_plot, figures)
    write_whole(file, page.encode())
    return file


def _page(groups: Sequence[Group], folder: Path, plots: str, figures: dict[str, Any]) -> str:
    from plotly.offline import get_plotlyjs

    from hedgerow.experiments.report import draw_html

    rows = [row(group) for group in groups]
    light, dark = draw_html.colours()
    here = resources.files("hedgerow.experiments.report")
    template = here.joinpath("report.html").read_text(encoding="utf-8")
    return _Page(template).substitute(
        title=escape(_title(groups)),
        lead=escape(_lead(groups)),
        headline="".join(f'<p class="headline">{escape(text)}</p>' for text in headline(rows)),
        light=" ".join(f"--{name}: {colour};" for name, colour in light.items()),
        dark=" ".join(f"--{name}: {colour};" for name, colour in dark.items()),
        table=_table(rows),
        caption="".join(f'<p class="note">{escape(line)}</p>' for line in table.caption(rows)),
        plots=plots,
        settings="".join(_setting(key, value) for key, value in _shared(groups).items()),
        words="".join(
            f"<div><dt>{escape(word)}</dt><dd>{escape(text)}</dd></div>" for word, text in _WORDS.items()
        ),
        commands=_commands(groups, folder),
        machine=escape(_machine()),
        plotly=get_plotlyjs(),
        # "<" is escaped, so that no user's text can end the script element.
        figures=json.dumps(figures).replace("<", "\\u003c"),
    )


def _curves(groups: Sequence[Group], folder: Path) -> tuple[str, dict[str, Any]]:
    """The two plots of accuracy: their HTML, and the figures by name."""
    from hedgerow.experiments.report import draw_html, draw_png

    drawn = plot_data.curves(groups)
    if not drawn:
        return _section("Accuracy", "No accuracy has been measured yet.", ""), {}
    draw_png.accuracy_rounds(drawn, folder / "accuracy-rounds.png")
    draw_png.accuracy_bytes(drawn, folder / "accuracy-bytes.png")
    legend = "".join(
        _chip(variable, label) for label, variable in draw_html.legend([g.label for g in groups])
    )
    legend = f'<div class="legend">{legend}</div>'
    buttons = "".join(
        f'<button data-way="{way}" aria-pressed="{"true" if way == "total" else "false"}">{name}</button>'
        for way, name in plot_data.BYTES.items()
    )
    rounds = _section(
        "Accuracy against rounds",
        "Line: mean of the seeds. Band: from the lowest to the highest seed.",
        f'{legend}<div data-figure="rounds"></div>',
    )
    cost = _section(
        "Accuracy against bytes",
        "Bytes of all clients together. Grey: the Pareto front; nothing else is as accurate for fewer bytes.",
        f'<div class="ways">{buttons}</div>{legend}<div data-figure="bytes"></div>',
    )
    figures = {f"bytes-{way}": draw_html.accuracy_bytes(drawn, way) for way in plot_data.BYTES}
    return rounds + cost, {"rounds": draw_html.accuracy_rounds(drawn), **figures}


def _budgets(groups: Sequence[Group], folder: Path) -> tuple[str, dict[str, Any]]:
    """Accuracy against epsilon and bytes, if runs differ in their privacy budget."""
    from hedgerow.experiments.report import draw_html, draw_png

    drawn = tradeoff.families(groups)
    if not drawn:
        return "", {}
    draw_png.accuracy_epsilon(drawn, folder / "accuracy-epsilon.png")
    chips = "".join(_chip(variable, label) for label, variable in draw_html.legend([f.label for f in drawn]))
    legend = f'<div class="legend">{chips}</div>'
    privacy = _section(
        "Accuracy against privacy",
        "The last accuracy: mean of the seeds, with bars from the lowest to the highest. Epsilon is what was"
        " spent in the whole run. Dashed: not private.",
        f'{legend}<div data-figure="epsilon"></div>',
    )
    cost = _section(
        "Accuracy against privacy and bytes",
        "The same accuracy against the bytes that all clients sent up; epsilon is next to the points.",
        f'{legend}<div data-figure="cost"></div>',
    )
    return privacy + cost, {
        "epsilon": draw_html.accuracy_epsilon(drawn), "cost": draw_html.accuracy_cost(drawn)
    }  # fmt: skip


def _split(groups: Sequence[Group], folder: Path) -> tuple[str, dict[str, Any]]:
    """The heat map of the first run's split, or why there is none."""
    from hedgerow.experiments.config.parse import parse
    from hedgerow.experiments.report import draw_html, draw_png

    run = groups[0].first
    title = "The split: samples of each client in each class"
    try:
        federation = parse(run.config, str(run.folder)).federation()
    except (ValueError, OSError) as error:
        return _section(title, f"The split cannot be drawn: {error}", ""), {}
    counts, classes = federation.counts(), federation.dataset.strata()[0]
    seed = f"seed {run.seed}"
    draw_png.clients_classes(counts, classes, folder / "clients-classes.png", f"{title} ({seed})")
    only = (
        f" Only the first {plot_data.MOST_CLIENTS} are drawn." if len(counts) > plot_data.MOST_CLIENTS else ""
    )
    sizes = federation.sizes()
    text = f"{len(counts)} clients with {sizes.min()} to {sizes.max()} samples, as split with {seed}.{only}"
    figure = draw_html.clients_classes(counts, federation.names, classes)
    return _section(title, text, '<div data-figure="split"></div>'), {"split": figure}


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


def _chip(variable: str, label: str) -> str:
    return f'<span><span class="chip" style="background: var({variable})"></span>{escape(label)}</span>'


def _table(rows: Sequence[Row]) -> str:
    from hedgerow.experiments.report.draw_html import legend

    shown = table.columns(rows)
    names = [escape(column.header.replace("\n", " ")) for column in shown]
    chips = legend([r.label for r in rows])
    body = ""
    for place, (label, variable) in enumerate(chips):
        body += f"<tr><td>{_chip(variable, label)}</td>"
        for name, column in zip(names[1:], shown[1:], strict=True):
            best = ' class="best"' if column.best[place] else ""
            body += f'<td{best} data-name="{name}">{escape(column.cells[place])}</td>'
        body += "</tr>"
    head = "".join(f"<th>{escape(column.header).replace(chr(10), '<br>')}</th>" for column in shown)
    return f'<table class="figures"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


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


_WORDS = {
    "accuracy": "Fraction of the test samples that the global model gets right, measured on the server. The"
    " table shows the last one measured: of a finished run, that of its last round.",
    "±": "Sample standard deviation over the seeds (divided by n - 1). A seed changes all random draws:"
    " the split, the cohorts, the initial model, the batches, the rounding.",
    "bytes": "Measured, not computed: the size of each record as it was serialised to be sent, with names"
    " and headers. What lower network layers add is not included. 1 kB = 1000 bytes.",
    "up, down": "Up is from a client to the server, down from the server to a client.",
    "per client, round": "Mean of what one client sends, or is sent, in one round it takes part in. A"
    " client whose reply never came is not included in the mean of up.",
    "total": "Sum over all clients and rounds of a run; mean over the seeds.",
    "to a target": "Bytes up and down of all clients until the accuracy was first measured at or above the"
    " target: mean over the seeds that reached it. 1/2 means that one seed of two did.",
    "time": "Wall time of all rounds with evaluation, mean over seeds. Runs in parallel shared the"
    " machine, so compare times only if all runs did so in the same way.",
    "bold": "Best of its column, among finished rows with the same number of rounds.",
}
