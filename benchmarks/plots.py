"""The pictures of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import matplotlib
import numpy as np

matplotlib.use("Agg")  # files only: a window system must not be needed

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from benchmarks.results import RunResult

COLOURS: Final[Mapping[str, str]] = {
    "ours": "#1b7f5c",
    "duckdb": "#e0a100",
    "chdb": "#c8452d",
    "polars": "#3d6fb4",
}
_OTHER = "#777777"


def plot_latency(result: RunResult, path: Path) -> None:
    """Median latency of each query on each engine, on a log scale, with p10 to p90 as whiskers."""
    engines, queries = result.engines, list(result.queries)
    figure, axes = plt.subplots(figsize=(11, 0.45 * len(queries) + 1.2))
    height = 0.8 / len(engines)
    for number, engine in enumerate(engines):
        timings = [result.queries[query].timing(engine) for query in queries]
        places = np.arange(len(queries)) + (number - (len(engines) - 1) / 2) * height
        medians = [timing.median if timing else np.nan for timing in timings]
        whiskers = [
            [max(0.0, t.median - t.p10) if t else 0.0 for t in timings],
            [max(0.0, t.p90 - t.median) if t else 0.0 for t in timings],
        ]
        axes.barh(places, medians, height, label=engine, color=COLOURS.get(engine, _OTHER), xerr=whiskers)
    axes.set_yticks(range(len(queries)), queries)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel(f"milliseconds, median of {result.rounds} rounds")
    _finish(figure, axes, f"Latency at scale {result.scale}", path)


def plot_growth(results: Sequence[RunResult], path: Path) -> None:
    """Median latency against number of events: a small picture per query, both axes logarithmic."""
    queries = list(results[-1].queries)
    columns = 4
    rows = -(-len(queries) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(13, 2.4 * rows), squeeze=False)
    for axes, query in zip(grid.flat, queries, strict=False):
        for engine in results[-1].engines:
            points = [(r.event_count, r.queries[query].timing(engine)) for r in results if query in r.queries]
            shown = [(size, timing.median) for size, timing in points if timing]
            axes.loglog(*zip(*shown, strict=True), marker="o", label=engine, color=COLOURS.get(engine, _OTHER))
        axes.set_title(query, fontsize=9)
        axes.set_xticks([r.event_count for r in results], [r.scale for r in results])
        axes.yaxis.set_major_formatter("{x:g}")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_minor_formatter(NullFormatter())
        axes.grid(alpha=0.3, which="both")
    for axes in list(grid.flat)[len(queries) :]:
        axes.set_visible(False)
    grid.flat[0].legend(fontsize=7)
    figure.supxlabel("events, by scale")
    figure.supylabel("milliseconds")
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def plot_rates(rates: Mapping[str, float], title: str, unit: str, label: str, path: Path) -> None:
    """One bar per name, each labelled by the format `label`."""
    figure, axes = plt.subplots(figsize=(7, 0.5 * len(rates) + 1.2))
    axes.barh(list(rates), list(rates.values()), color=[COLOURS.get(name, _OTHER) for name in rates])
    axes.bar_label(axes.containers[0], fmt=label, padding=3)  # type: ignore[arg-type]
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.set_xlabel(unit)
    _finish(figure, axes, title, path, legend=False)


def _finish(figure: Figure, axes: Axes, title: str, path: Path, legend: bool = True) -> None:
    axes.set_title(title)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    if legend:
        axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)
