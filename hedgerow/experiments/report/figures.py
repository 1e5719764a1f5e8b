"""The plots of a report as plain data, which `chart.js` draws: on the page, and for a PNG file alike.

A figure is a dict that JSON can hold. `marks` are its curves or points, each with the place of its colour;
`front` is a line of steps; `chosen` are the points to point out.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hedgerow.experiments.report import plot_data, tradeoff
from hedgerow.experiments.report.headline import Pick
from hedgerow.experiments.report.plot_data import Curve, Floats
from hedgerow.experiments.report.tradeoff import Family
from hedgerow.experiments.runs.costs import Cost

Figure: TypeAlias = dict[str, Any]

_MOST_POINTS = 6000
"""Of all curves of one figure together; more would only make the page longer."""


def accuracy_rounds(drawn: Sequence[Curve]) -> Figure:
    """Accuracy against rounds: mean line, and a band from the lowest to the highest seed."""
    low, high = plot_data.accuracy_range(drawn)
    last = max((int(c.rounds[-1]) for c in drawn), default=1)
    marks = []
    for curve in drawn:
        kept = _thinned(len(curve.rounds), len(drawn))
        several = {"low": _plain(curve.low[kept]), "high": _plain(curve.high[kept])}
        band = several if len(curve.ends) > 1 else {}
        marks.append(_mark(curve, curve.rounds[kept], curve.mean[kept], line=True, **band))
    first = min((int(c.rounds[0]) for c in drawn), default=0)
    even = plot_data.even_ticks(first, max(last, first + 1))
    ticks = [[tick, f"{tick:g}"] for tick in even if tick == int(tick)]
    return {
        "title": "Accuracy against rounds", "marks": marks, "labels": True,
        "x": {"title": "round", "unit": "round", "low": first, "high": max(last, first + 1), "ticks": ticks},
        "y": _accuracy_axis(low, high),
    }  # fmt: skip


def accuracy_cost(drawn: Sequence[Curve], cost: Cost, picks: Sequence[Pick]) -> Figure | None:
    """Accuracy against one kind of cost with the Pareto front; `None` if no run recorded it.

    A curve is how a way gets there, its end what the whole run costs; bars are the t interval.
    """
    curves = plot_data.cost_curves(drawn, cost.name)
    if not curves:
        return None
    low, high = plot_data.end_range([t.curve for t in curves])
    seen = [float(c) for t in curves for c, a in zip(t.cost, t.mean, strict=True) if a >= low]
    left, right = min(seen) / 1.15, max(float(t.cost[-1]) for t in curves) * 1.3
    marks = []
    for t in curves:
        kept = _thinned(len(t.cost), len(curves))
        bounds = plot_data.bounds_of(t.curve)
        end = {"x": _plain(t.cost[-1:])[0], "y": _plain(t.mean[-1:])[0], "seeds": _plain(t.curve.ends)}
        if bounds is not None:
            end |= {"low": bounds[0], "high": bounds[1]}
        marks.append(_mark(t.curve, t.cost[kept], t.mean[kept], line=True, end=end))
    across, up = plot_data.front(curves)
    chosen = [_chosen(pick, curves) for pick in picks if pick.cost.name == cost.name]
    return {
        "title": f"Accuracy against {cost.title}", "marks": marks,
        "front": [_plain(across), _plain(up)], "chosen": [c for c in chosen if c is not None],
        "x": _log_axis(f"{cost.title} (log)", cost.unit, left, right), "y": _accuracy_axis(low, high),
    }  # fmt: skip


def accuracy_epsilon(drawn: Sequence[Family]) -> Figure:
    """The last accuracy against epsilon, a line for each way of training; a dashed one is not private."""
    ticks = tradeoff.epsilon_ticks(drawn)
    left, right = ticks[0] / 1.15, ticks[-1] * 1.15
    lowest, highest = min(float(f.low.min()) for f in drawn), max(float(f.high.max()) for f in drawn)
    margin = 0.04 * max(highest - lowest, 0.01)
    marks = []
    for family in drawn:
        if family.private:
            bars = {"low": _plain(family.low), "high": _plain(family.high), "bars": True}
            marks.append(_mark(family, family.epsilon, family.mean, line=True, points=True, **bars))
        else:
            level = _mark(family, np.array([left, right]), family.mean[[0, 0]], line=True)
            marks.append({**level, "dash": 1})
    axis = _log_axis("epsilon (log; small is private)", "", left, right)
    axis["ticks"] = [[tick, f"{tick:.2g}"] for tick in ticks]
    return {
        "title": "Accuracy against epsilon", "marks": marks, "labels": True, "x": axis,
        "y": _accuracy_axis(lowest - margin, highest + margin),
    }  # fmt: skip


def clients_classes(counts: NDArray[np.int64], clients: Sequence[str], classes: Sequence[str]) -> Figure:
    """The split: samples of each client in each class, `counts` `(clients, classes)`."""
    shown = counts[: plot_data.MOST_CLIENTS].T
    return {
        "title": "Samples of each client in each class", "cells": shown.tolist(), "most": int(shown.max()),
        "rows": list(classes), "columns": list(clients[: plot_data.MOST_CLIENTS]), "unit": "samples",
    }  # fmt: skip


def colours() -> tuple[Mapping[str, str], Mapping[str, str]]:
    """The CSS variables of the curves, on a light and on a dark page."""
    light, dark = ({f"c{place}": c for place, c in enumerate(p)} for p in (plot_data.LIGHT, plot_data.DARK))
    return light, dark


def colour(place: int) -> str:
    """The CSS variable of a curve's colour."""
    return f"--c{place % len(plot_data.LIGHT)}"


def _mark(drawn: Curve | Family, x: NDArray[Any], y: Floats, **more: Any) -> Figure:
    repeat, place = divmod(drawn.place, len(plot_data.LIGHT))
    return {"label": drawn.label, "colour": place, "dash": repeat % 4, "x": _plain(x), "y": _plain(y), **more}


def _chosen(pick: Pick, curves: Sequence[plot_data.CostCurve]) -> Figure | None:
    """Where the way to choose ends, for a label in the plot."""
    for t in curves:
        if t.curve.label == pick.row.label:
            return {"label": pick.row.label, "colour": t.curve.place % len(plot_data.LIGHT),
                    "x": float(t.cost[-1]), "y": float(t.mean[-1])}  # fmt: skip
    return None


def _log_axis(title: str, unit: str, low: float, high: float) -> Figure:
    ticks = [[place, text] for place, text in plot_data.log_ticks(low, high, unit)]
    return {"title": title, "unit": unit, "log": True, "low": low, "high": high, "ticks": ticks}


def _accuracy_axis(low: float, high: float) -> Figure:
    ticks = [[tick, f"{100 * tick:g} %"] for tick in plot_data.even_ticks(low, high)]
    return {"title": "accuracy", "unit": "%", "low": low, "high": high, "ticks": ticks}


def _thinned(points: int, curves: int) -> NDArray[np.int64]:
    """Which points of a curve are drawn: all of few, else evenly many with the first and the last."""
    most = max(_MOST_POINTS // max(curves, 1), 20)
    return np.unique(np.linspace(0, points - 1, min(points, most)).round().astype(np.int64))


def _plain(values: NDArray[Any]) -> list[float]:
    """Numbers to six digits, which no eye can tell from more."""
    return [float(f"{value:.6g}") for value in values.tolist()]
