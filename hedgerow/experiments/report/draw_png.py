"""The plots of a report as PNG files, drawn by matplotlib."""

import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, PercentFormatter
from numpy.typing import NDArray

from hedgerow.experiments.report import plot_data, tradeoff
from hedgerow.experiments.report.plot_data import Curve
from hedgerow.experiments.report.tradeoff import Family
from hedgerow.files import write_whole

_INK, _FAINT, _GRID, _FRONT = "#1F2933", "#5B6773", "#E4E8EC", "#D3D8DE"
_HEAT = ("#F3F5F7", "#BCD6EC", "#7FB2D9", "#2F7FBD", "#0A3A6B")
_LABEL_GAP = 0.05  # one line of text, as a fraction of the axis height


def accuracy_rounds(drawn: Sequence[Curve], file: Path) -> None:
    """Accuracy against rounds: mean line, and a band from the lowest to the highest seed."""
    figure = Figure(figsize=(9, 4.8), layout="constrained")
    axes = figure.add_subplot()
    for curve in drawn:
        colour, dash = _pen(curve)
        axes.fill_between(curve.rounds, curve.low, curve.high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(curve.rounds, curve.mean, color=colour, linestyle=dash, linewidth=2)
    _prepare(axes, drawn, "Accuracy against rounds: mean of the seeds, lowest to highest", "round")
    axes.margins(x=0)
    _name(axes, drawn, [float(c.rounds[-1]) for c in drawn])
    _save(figure, file)


def accuracy_bytes(drawn: Sequence[Curve], file: Path) -> None:
    """Accuracy against the bytes of all clients, once up and down and once up, with the Pareto fronts."""
    figure = Figure(figsize=(13, 5.2), layout="constrained")
    panels = figure.subplots(1, len(plot_data.BYTES), sharey=True)
    for axes, (way, name) in zip(panels, plot_data.BYTES.items(), strict=True):
        cost_curves = plot_data.cost_curves(drawn, way)
        cost, reached = plot_data.front(cost_curves)
        axes.step(
            cost,
            reached,
            where="post",
            color=_FRONT,
            linewidth=9,
            solid_capstyle="round",
            label="Pareto front",
        )
        for cost_curve in cost_curves:
            colour, dash = _pen(cost_curve.curve)
            axes.plot(cost_curve.bytes, cost_curve.mean, color=colour, linestyle=dash, linewidth=1.8)
            axes.plot(cost_curve.bytes[-1], cost_curve.mean[-1], "o", color=colour, markersize=6)
        axes.set_xscale("log")
        _prepare(axes, drawn, f"Accuracy against bytes {name}", f"bytes {name} (log)")
        axes.xaxis.set_minor_locator(NullLocator())
        ticks = plot_data.byte_ticks(*axes.get_xlim())
        axes.set_xticks([place for place, _ in ticks], [text for _, text in ticks])
        axes.legend(loc="upper left", frameon=False, labelcolor=_FAINT, handlelength=1.6)
    _name(panels[-1], drawn, [float(c.bytes["up"][-1]) for c in drawn])
    panels[-1].set_ylabel("")
    _save(figure, file)


def accuracy_epsilon(drawn: Sequence[Family], file: Path) -> None:
    """The last accuracy against epsilon, and against the bytes of all clients; bars from seed to seed."""
    figure = Figure(figsize=(13, 5.2), layout="constrained")
    privacy, cost = figure.subplots(1, 2, sharey=True)
    for family in drawn:
        colour, dash = _pen(family)
        bars = np.array([family.mean - family.low, family.high - family.mean])
        pen = {"color": colour, "capsize": 3, "elinewidth": 1.2, "markersize": 6}
        if family.private:
            privacy.errorbar(family.epsilon, family.mean, bars, fmt="o", linestyle=dash, linewidth=2, **pen)
        else:
            privacy.axhline(family.mean[0], color=colour, linestyle="--", linewidth=1.6)
        cost.errorbar(family.bytes, family.mean, bars, fmt="o", **pen)
        low, high = plot_data.accuracy_range(drawn)
        heights = plot_data.spread([float(mean) for mean in family.mean], 0.6 * _LABEL_GAP * (high - low))
        for spent, bytes, height in zip(family.epsilon, family.bytes, heights, strict=False):
            cost.annotate(
                f"\u03b5 {spent:.2g}", (bytes, height), xytext=(8, 0), textcoords="offset points",
                color=colour, size=9, va="center",
            )  # fmt: skip
    for axes, name in ((privacy, "privacy"), (cost, "bytes")):
        words = "epsilon (log; small is private)" if name == "privacy" else "bytes sent up (log)"
        _prepare(axes, drawn, f"Accuracy against {name}", words)
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.margins(x=0.12)
    privacy.set_xticks(ticks := tradeoff.epsilon_ticks(drawn), [f"{tick:.2g}" for tick in ticks])
    marks = plot_data.byte_ticks(cost.get_xlim()[0], cost.get_xlim()[1], fine=True)
    cost.set_xticks([place for place, _ in marks], [text for _, text in marks])
    cost.set_ylabel("")
    _name(cost, drawn, [float(family.bytes[-1]) for family in drawn])
    _save(figure, file)


def clients_classes(counts: NDArray[np.int64], classes: Sequence[str], file: Path, title: str) -> None:
    """The split: samples of each client in each class, `counts` `(clients, classes)`."""
    from matplotlib.colors import LinearSegmentedColormap

    shown = counts[: plot_data.MOST_CLIENTS].T
    figure = Figure(figsize=(9, 1.6 + min(0.26 * len(classes), 12)), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(
        shown,
        aspect="auto",
        interpolation="nearest",
        cmap=LinearSegmentedColormap.from_list("samples", _HEAT),
    )
    axes.set_yticks(range(len(classes)), classes)
    axes.tick_params(length=0, colors=_FAINT)
    axes.set_xlabel("client", color=_FAINT)
    axes.set_title(title, loc="left", color=_INK, fontsize=12, pad=12)
    for side in axes.spines.values():
        side.set_visible(False)
    bar = figure.colorbar(image, ax=axes, pad=0.01, aspect=30)
    bar.set_label("samples", color=_FAINT)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, colors=_FAINT)
    _save(figure, file)


def _pen(curve: Curve | Family) -> tuple[str, str]:
    repeat, place = divmod(curve.place, len(plot_data.LIGHT))
    dash = plot_data.DASHES[repeat % len(plot_data.DASHES)]
    return plot_data.LIGHT[place], {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}[dash]


def _prepare(axes: Axes, drawn: Sequence[Curve | Family], title: str, x: str) -> None:
    axes.set_title(title, loc="left", color=_INK, fontsize=12, pad=12)
    axes.set_xlabel(x, color=_FAINT)
    axes.set_ylabel("accuracy", color=_FAINT)
    axes.set_ylim(*plot_data.accuracy_range(drawn))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None, symbol=" %"))
    axes.grid(color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=_FAINT)
    for side in axes.spines.values():
        side.set_visible(False)


def _name(axes: Axes, drawn: Sequence[Curve | Family], ends: Sequence[float]) -> None:
    """Write each label at the right, in its colour, with a thin line to the end of its curve."""
    low, high = axes.get_ylim()
    right = axes.get_xlim()[1]
    axes.set_xlim(right=right)
    heights = plot_data.spread([float(c.mean[-1]) for c in drawn], _LABEL_GAP * (high - low), low, high)
    for curve, end, height in zip(drawn, ends, heights, strict=True):
        colour, _ = _pen(curve)
        if end < right:
            axes.plot([end, right], [curve.mean[-1], height], color=colour, alpha=0.4, linewidth=0.8)
        axes.annotate(
            curve.label, (right, height), xytext=(6, 0), textcoords="offset points",
            color=colour, size=9, va="center", annotation_clip=False, parse_math=False,
        )  # fmt: skip


def _save(figure: Figure, file: Path) -> None:
    drawn = io.BytesIO()
    with warnings.catch_warnings():
        # Characters that the font does not have become boxes in the PNG; the HTML page shows them.
        warnings.filterwarnings("ignore", r"(?s)Glyph .* missing from", UserWarning)
        figure.savefig(drawn, format="png", dpi=150, facecolor="white", bbox_inches="tight", pad_inches=0.15)
    write_whole(file, drawn.getvalue())
