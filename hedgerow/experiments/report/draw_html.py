"""The plots of a report as plotly figures: plain data that `report.html` hands to plotly.js.

A colour such as `"@c0"` is a CSS variable of the page, and `"@c0:22"` the same
with a hex alpha, so that one figure serves the light and the dark page.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hedgerow.experiments.report import plot_data, tradeoff
from hedgerow.experiments.report.plot_data import Curve
from hedgerow.experiments.report.tradeoff import Family

Figure: TypeAlias = dict[str, Any]

_HEIGHT, _LABEL_PIXELS = 420, 17
_AXIS = {"zeroline": False, "fixedrange": True, "ticks": ""}


def accuracy_rounds(drawn: Sequence[Curve]) -> Figure:
    """Accuracy against rounds: mean line, and a band from the lowest to the highest seed."""
    data: list[Figure] = []
    for curve in drawn:
        rounds, low, high = curve.rounds.tolist(), curve.low.tolist(), curve.high.tolist()
        band = {
            "x": rounds + rounds[::-1],
            "y": high + low[::-1],
            "fill": "toself",
            "fillcolor": _colour(curve, "26"),
        }
        data.append({**band, "type": "scatter", "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"})
    data += [_line(curve, curve.rounds, curve.mean, "round %{x}: %{y:.1%}") for curve in drawn]
    ends = [float(c.rounds[-1]) for c in drawn]
    axis = {
        "title": _title("round"),
        "range": [min((int(c.rounds[0]) for c in drawn), default=0), max(ends, default=1)],
    }
    return _figure(data, drawn, ends, axis)


def accuracy_bytes(drawn: Sequence[Curve], way: str) -> Figure:
    """Accuracy against the bytes of all clients, with the Pareto front; `way` is a key of `BYTES`."""
    cost_curves = plot_data.cost_curves(drawn, way)
    cost, reached = plot_data.front(cost_curves)
    front = {
        "x": cost.tolist(),
        "y": reached.tolist(),
        "line": {"shape": "hv", "width": 10, "color": "@front"},
    }
    data: list[Figure] = [{**front, "type": "scatter", "mode": "lines", "hoverinfo": "skip"}]
    data += [_line(t.curve, t.bytes, t.mean, "%{x:.3s}B: %{y:.1%}") for t in cost_curves]
    for cost_curve in cost_curves:
        end = {
            "x": [cost_curve.bytes[-1]],
            "y": [cost_curve.mean[-1]],
            "marker": {"size": 9, "color": _colour(cost_curve.curve)},
        }
        data.append({**end, "type": "scatter", "mode": "markers", "hoverinfo": "skip"})
    ends = [float(t.bytes[-1]) for t in cost_curves]
    low, high = (
        min((float(t.bytes[0]) for t in cost_curves), default=1.0) / 1.1,
        max(ends, default=10.0) * 1.1,
    )
    ticks = plot_data.byte_ticks(low, high)
    axis = {
        "type": "log",
        "range": [float(np.log10(low)), float(np.log10(high))],
        "title": _title(f"bytes {plot_data.BYTES[way]} (log)"),
        "tickvals": [place for place, _ in ticks],
        "ticktext": [text for _, text in ticks],
    }
    return _figure(data, [t.curve for t in cost_curves], ends, axis, right=high)


def accuracy_epsilon(drawn: Sequence[Family]) -> Figure:
    """The last accuracy against epsilon; a dashed line is not private."""
    ticks = tradeoff.epsilon_ticks(drawn)
    low, high = ticks[0] / 1.15, ticks[-1] * 1.15
    data: list[Figure] = []
    for family in drawn:
        if family.private:
            line = _line(family, family.epsilon, family.mean, "\u03b5 %{x:.3g}: %{y:.1%}")
            data.append({**line, "mode": "lines+markers", "marker": {"size": 9}, "error_y": _bars(family)})
        else:
            line = _line(family, np.array([low, high]), family.mean[[0, 0]], "%{y:.1%}, not private")
            data.append({**line, "line": {**line["line"], "dash": "dash"}})
    axis = {
        "type": "log", "range": [float(np.log10(low)), float(np.log10(high))],
        "title": _title("epsilon (log; small is private)"),
        "tickvals": ticks, "ticktext": [f"{tick:.2g}" for tick in ticks],
    }  # fmt: skip
    ends = [float(f.epsilon[-1]) if f.private else high for f in drawn]
    return _figure(data, drawn, ends, axis, right=high)


def accuracy_cost(drawn: Sequence[Family]) -> Figure:
    """The last accuracy against the bytes that all clients send up, a point for each epsilon."""
    low, high = min(f.bytes.min() for f in drawn) / 1.1, max(f.bytes.max() for f in drawn) * 1.15
    ticks = plot_data.byte_ticks(low, high, fine=True)
    data = []
    for family in drawn:
        point = _line(family, family.bytes, family.mean, "%{x:.3s}B: %{y:.1%}")
        texts = [f"\u03b5 {spent:.2g}" for spent in family.epsilon] or ["not private"]
        # A family's lowest label below its point and its highest above, so that close ones do not overlap.
        ranks = np.argsort(np.argsort(family.mean)) / max(len(texts) - 1, 1)
        sides = [f"{'bottom' if r == 0 else 'top' if r == 1 else 'middle'} right" for r in ranks.tolist()]
        where: str | list[str] = sides if family.private else "middle right"
        text = {"text": texts, "textposition": where, "textfont": {"color": _colour(family)}}
        marker = {"size": 9, "color": _colour(family)}
        data.append({**point, **text, "mode": "markers+text", "marker": marker, "error_y": _bars(family)})
    axis = {
        "type": "log", "range": [float(np.log10(low)), float(np.log10(high))],
        "title": _title("bytes sent up (log)"),
        "tickvals": [place for place, _ in ticks], "ticktext": [text for _, text in ticks],
    }  # fmt: skip
    return _figure(data, drawn, [float(f.bytes[-1]) for f in drawn], axis, right=high)


def _bars(family: Family) -> Figure:
    """Error bars from the lowest to the highest seed."""
    return {
        "type": "data", "symmetric": False, "thickness": 1.2, "width": 4, "color": _colour(family),
        "array": (family.high - family.mean).tolist(), "arrayminus": (family.mean - family.low).tolist(),
    }  # fmt: skip


def clients_classes(counts: NDArray[np.int64], clients: Sequence[str], classes: Sequence[str]) -> Figure:
    """The split: samples of each client in each class, `counts` `(clients, classes)`."""
    shown = counts[: plot_data.MOST_CLIENTS].T
    names = [[escape(name) for name in clients[: plot_data.MOST_CLIENTS]]] * len(classes)
    gap = 1 if len(counts) <= 200 else 0
    heat = {
        "type": "heatmap", "z": shown.tolist(), "y": [escape(c) for c in classes], "text": names,
        "xgap": gap, "ygap": gap, "zmin": 0,
        "colorscale": [[place / 4, f"@heat{place}"] for place in range(5)],
        "hovertemplate": "%{text}<br>%{y}: %{z} samples<extra></extra>",
        "colorbar": {"thickness": 10, "outlinewidth": 0, "title": {**_title("samples"), "side": "right"}},
    }  # fmt: skip
    layout = {
        "height": 120 + min(24 * len(classes), 900),
        "margin": {"l": 10, "r": 10, "t": 10, "b": 45},
        "xaxis": {**_AXIS, "title": _title("client"), "showgrid": False},
        "yaxis": {
            **_AXIS,
            "type": "category",
            "autorange": "reversed",
            "automargin": True,
            "showgrid": False,
        },
    }
    return {"data": [heat], "layout": {**_common(), **layout}}


def legend(labels: Sequence[str]) -> list[tuple[str, str]]:
    """Each label with the CSS variable of its colour."""
    return [(label, f"--c{place % len(plot_data.LIGHT)}") for place, label in enumerate(labels)]


def colours() -> tuple[Mapping[str, str], Mapping[str, str]]:
    """The CSS variables of the lines, on a light and on a dark page."""
    light, dark = ({f"c{place}": c for place, c in enumerate(p)} for p in (plot_data.LIGHT, plot_data.DARK))
    return light, dark


def _colour(curve: Curve | Family, alpha: str = "") -> str:
    name = f"@c{curve.place % len(plot_data.LIGHT)}"
    return f"{name}:{alpha}" if alpha else name


def _line(curve: Curve | Family, x: NDArray[Any], y: NDArray[Any], hover: str) -> Figure:
    dash = plot_data.DASHES[curve.place // len(plot_data.LIGHT) % len(plot_data.DASHES)]
    return {
        "type": "scatter", "mode": "lines", "x": x.tolist(), "y": y.tolist(), "name": escape(curve.label),
        "line": {"color": _colour(curve), "width": 2.5, "dash": dash},
        "hovertemplate": f"{escape(curve.label)}<br>{hover}<extra></extra>",
    }  # fmt: skip


def _figure(
    data: list[Figure],
    drawn: Sequence[Curve | Family],
    ends: Sequence[float],
    axis: Figure,
    right: float | None = None,
) -> Figure:
    """Axes, and labels at the right; with `right`, thin lines connect them to the curves' ends."""
    low, high = plot_data.accuracy_range(drawn)
    gap = _LABEL_PIXELS / (_HEIGHT - 60) * (high - low)
    heights = plot_data.spread([float(c.mean[-1]) for c in drawn], gap, low, high)
    notes = []
    for curve, end, height in zip(drawn, ends, heights, strict=True):
        place = {"xref": "paper", "x": 1, "xanchor": "left", "xshift": 6, "y": height, "yanchor": "middle"}
        font = {"color": _colour(curve), "size": 13}
        notes.append({**place, "text": escape(curve.label), "font": font, "showarrow": False})
        if right is not None:
            leader = {
                "x": [end, right],
                "y": [float(curve.mean[-1]), height],
                "meta": "leader",
                "hoverinfo": "skip",
            }
            pen = {"color": _colour(curve, "66"), "width": 1}
            data.append({**leader, "type": "scatter", "mode": "lines", "line": pen})
    longest = max((len(c.label) for c in drawn), default=0)
    layout = {
        "height": _HEIGHT,
        "margin": {"l": 10, "r": 20 + round(7.2 * longest), "t": 10, "b": 50},
        "annotations": notes,
        "xaxis": {**_AXIS, "gridcolor": "@grid", **axis},
        "yaxis": {
            **_AXIS,
            "gridcolor": "@grid",
            "automargin": True,
            "tickformat": ".0%",
            "range": [low, high],
        },
    }
    return {"data": data, "layout": {**_common(), **layout}}


def _title(text: str) -> Figure:
    return {"text": text, "font": {"size": 13}}


def _common() -> Figure:
    font = {"family": "system-ui, sans-serif", "size": 13, "color": "@faint"}
    hover = {"bgcolor": "@card", "bordercolor": "@grid", "font": {"color": "@ink"}}
    return {
        "paper_bgcolor": "@clear",
        "plot_bgcolor": "@clear",
        "font": font,
        "showlegend": False,
        "hoverlabel": hover,
    }
