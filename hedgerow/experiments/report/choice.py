"""What a report says at once: the way to choose, and the tables that show why."""

from collections.abc import Sequence
from html import escape
from urllib.parse import quote

from hedgerow.experiments.config.names import slug
from hedgerow.experiments.report import against, figures
from hedgerow.experiments.report import table as texts
from hedgerow.experiments.report.against import Budget
from hedgerow.experiments.report.compare import Row
from hedgerow.experiments.report.headline import Conclusion, Pick, percent, spent
from hedgerow.experiments.runs.costs import COSTS, Cost


def section(conclusion: Conclusion, rows: Sequence[Row], base: Row | None) -> str:
    """The ways to choose, one card for each that is best for some cost; and the rule."""
    if not conclusion.sentences:
        return ""
    ways: dict[str, list[Pick]] = {}
    for pick in conclusion.picks:
        ways.setdefault(pick.row.label, []).append(pick)
    cards = "".join(_card(picks, rows, base) for picks in ways.values())
    several = (
        '<p class="note">They disagree: take the one whose cost is scarce where you are.</p>'
        if len(ways) > 1
        else ""
    )
    told = "".join(f'<p class="note">{escape(text)}</p>' for text in conclusion.sentences)
    body = f'<h2>What to choose</h2><div class="picks">{cards}</div>{several}{told}'
    return f'<section class="choice">{body}</section>'


def _card(picks: Sequence[Pick], rows: Sequence[Row], base: Row | None) -> str:
    row = picks[0].row
    when = ", ".join(f"{'fewest' if pick.cost.unit == 'B' else 'least'} {pick.cost.title}" for pick in picks)
    when = when.capitalize() + ("" if row.target is None else f", to reach {percent(row.target)}")
    first = {pick.cost.name for pick in picks}
    figures_ = "".join(
        _figure(row, cost, base, cost.name in first) for cost in COSTS if cost.name in row.costs
    )
    seeds = f", {len(row.seeds)} seeds" if len(row.seeds) > 1 else ", one seed"
    spread = "" if row.accuracy_deviation is None else f" ± {100 * row.accuracy_deviation:.1f}"
    accuracy = "" if row.accuracy is None else f"accuracy {100 * row.accuracy:.1f}{spread} %{seeds}"
    place = [r.label for r in rows].index(row.label)
    return (
        f'<div class="pick"><p class="when">{escape(when)}</p><p class="way">{chip(place, row.label)}</p>'
        f'{figures_}<p class="note">{escape(accuracy)}</p></div>'
    )


def _figure(row: Row, cost: Cost, base: Row | None, first: bool) -> str:
    """What the way costs; what it is chosen for stands out."""
    ratio, beside = against.fewer(row, base, cost.name), ""
    if base is not None and ratio is not None and base.label != row.label:
        beside = f", {against.compared(ratio, cost)} than {base.label}"
    amount = escape(spent(row, cost))
    shown = f"<strong>{amount}</strong>" if first else amount
    return f'<p class="figure">{shown} {escape(cost.title)}{escape(beside)}</p>'


def chip(place: int, label: str) -> str:
    """A way's name with its colour."""
    colour = figures.colour(place)
    return f'<span><span class="chip" style="background: var({colour})"></span>{escape(label)}</span>'


def table(rows: Sequence[Row]) -> str:
    """The table of `hedgerow compare`."""
    shown = texts.columns(rows)
    names = [escape(column.header.replace("\n", " ")) for column in shown]
    body = ""
    for place, each in enumerate(rows):
        body += f'<tr><th scope="row">{chip(place, each.label)}</th>'
        for name, column in zip(names[1:], shown[1:], strict=True):
            best = ' class="best"' if column.best[place] else ""
            body += f'<td{best} data-name="{name}">{escape(column.cells[place])}</td>'
        body += "</tr>"
    return _table([escape(column.header).replace("\n", "<br>") for column in shown], body)


def against_table(rows: Sequence[Row], base: Row | None, budget: Budget | None) -> str:
    """Quality under a budget, cost to a target, robustness, and how many times less than float32."""
    if not any(r.accuracies for r in rows):
        return ""
    names = against.headers(rows, base, budget)
    body = ""
    for place, each in enumerate(rows):
        found = zip(names, against.cells(place, rows, base, budget), strict=True)
        cells = "".join(f'<td data-name="{escape(name)}">{escape(cell)}</td>' for name, cell in found)
        body += f'<tr><th scope="row">{chip(place, each.label)}</th>{cells}</tr>'
    beside = "No way sends float32 in a run that differs in how it sends; so there are no ratios."
    if base is not None:
        beside = f"Times less than {base.label}."
    made = _table(["way", *(escape(name) for name in names)], body)
    return (
        "<section><h2>Quality for a budget, cost to a target, robustness</h2>"
        f'<p class="note">{escape(beside)}</p>{made}</section>'
    )


def csv_link(text: str, name: str) -> str:
    """A link that saves the figures as CSV, without a server."""
    return (
        f'<div class="tools"><a class="button" download="{escape(slug(name))}.csv"'
        f' href="data:text/csv;charset=utf-8,{quote(text)}">CSV</a></div>'
    )


def _table(names: Sequence[str], body: str) -> str:
    head = "".join(f'<th scope="col">{name or "way"}</th>' for name in names)
    return (
        '<div class="wide" tabindex="0" role="group" aria-label="figures of each way">'
        f'<table class="figures"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )
