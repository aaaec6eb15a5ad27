"""A Markdown report with plots, from a result and from the other scales' results beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.plots import plot_growth, plot_latency, plot_rates
from benchmarks.queries import QUERIES
from benchmarks.results import OURS, QueryResult, RunResult, read
from benchmarks.scales import SCALES


def write_report(path: Path) -> Path:
    """Write <scale>.md and its plots beside a result file; returns the report's path."""
    result = read(path)
    others = [path.parent / f"{name}.json" for name in SCALES if name != "smoke"]
    scales = sorted((read(other) for other in others if other.exists()), key=lambda each: each.event_count)
    plots = path.parent / "plots"
    plots.mkdir(exist_ok=True)
    lines = [*_head(result), *_latency(result, plots), *_growth(scales, plots), *_ingest(result, plots)]
    lines += [*_memory(result), *_roofline(result, plots), *_live(result), *_concurrency(result), *_extras(result)]
    report = path.with_suffix(".md")
    report.write_text("\n".join(lines) + "\n")
    return report


def _head(result: RunResult) -> Iterator[str]:
    machine = result.machine
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    yield f"# Benchmark at scale {result.scale}"
    yield ""
    yield (
        f"{result.profile_count:,} profiles, {result.event_count:,} events, seed {result.seed}, {result.date}. "
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_bytes'] / 2**30:.0f} GiB, {machine['system']}."
    )
    yield f"Versions: {versions}."
    yield ""
    unequal = [name for name, query in result.queries.items() if not query.equal]
    yield f"Answers differ: {', '.join(unequal)}." if unequal else "All engines gave equal answers to all queries."
    if result.geomean_behavioural is not None:
        yield (
            f"Behavioural queries, end to end, against the fastest peer of each: "
            f"**{result.geomean_behavioural:.1f}x** (geometric mean)."
        )


def _latency(result: RunResult, plots: Path) -> Iterator[str]:
    plot_latency(result, plots / f"{result.scale}-latency.png")
    peers = [name for name in result.engines if name != OURS]
    ours = ["ours", "in the engine", "against the best"] if OURS in result.engines else []
    yield from ("", "## Queries", "", f"![latency](plots/{result.scale}-latency.png)", "")
    yield "Milliseconds, medians; in brackets p10 to p90."
    yield ""
    yield from _table(["query", *ours, *peers], [_latency_row(n, q, result.engines) for n, q in result.queries.items()])
    yield ""
    yield from (f"- **{name}**: {QUERIES[name].question}" for name in result.queries if name in QUERIES)


def _latency_row(name: str, query: QueryResult, engines: Sequence[str]) -> list[str]:
    cells = [name]
    peers = [engine for engine in engines if engine != OURS]
    if query.ours_ms is None:
        cells += ["not answered yet", "", ""] if OURS in engines else []
    else:
        inner = "" if query.engine_ms is None else f"{query.engine_ms:.2f}"
        against = "" if query.ratio_to_best is None else f"{query.ratio_to_best:.2f}x"
        cells += [_timing_cell(query, OURS), inner, against]
    return [*cells, *(_timing_cell(query, peer) for peer in peers)]


def _timing_cell(query: QueryResult, engine: str) -> str:
    timing = query.timing(engine)
    return f"{timing.median:.2f} ({timing.p10:.2f} - {timing.p90:.2f})" if timing else ""


def _growth(scales: Sequence[RunResult], plots: Path) -> Iterator[str]:
    if len(scales) < 2:
        return
    plot_growth(scales, plots / "growth.png")
    engines = scales[-1].engines
    yield from ("", "## Growth", "", "![growth](plots/growth.png)", "")
    yield "Exponent of time against number of events: 1 is linear, 0 is constant."
    yield ""
    rows = [[query, *(_exponent(scales, query, engine) for engine in engines)] for query in scales[-1].queries]
    yield from _table(["query", *engines], rows)


def _exponent(scales: Sequence[RunResult], query: str, engine: str) -> str:
    timings = [(r.event_count, r.queries[query].timing(engine)) for r in scales if query in r.queries]
    points = [(size, timing.median) for size, timing in timings if timing]
    if len(points) < 2:
        return ""
    sizes, medians = np.log(np.array(points)).T
    return f"{np.polyfit(sizes, medians, 1)[0]:.2f}"


def _ingest(result: RunResult, plots: Path) -> Iterator[str]:
    rates = {name: facts["events_per_second"] for name, facts in result.ingest.items() if "events_per_second" in facts}
    if not rates:
        return
    plot_rates(rates, "Durable ingest", "events per second", "{:,.0f}", plots / f"{result.scale}-ingest.png")
    yield from ("", "## Ingest", "", f"![ingest](plots/{result.scale}-ingest.png)", "")
    yield "Batches as Arrow columns, each durable before the next is sent."
    yield ""
    header = ["engine", "events per second", "rows in a batch", "ack p50 ms", "ack p99 ms"]
    keys = ("batch_rows", "ack_p50_ms", "ack_p99_ms")
    rows = [
        [name, f"{rate:,}", *(f"{result.ingest[name].get(key, '')}" for key in keys)] for name, rate in rates.items()
    ]
    yield from _table(header, rows)


def _memory(result: RunResult) -> Iterator[str]:
    yield from ("", "## Memory", "")
    yield "Accounted: the engine's own figure for its data. Resident: growth of its processes while loading. "
    yield "Both hold profiles and events; per event is the whole divided by the number of events."
    yield ""
    rows = [
        [
            name,
            f"{facts['accounted_bytes'] / 1e6:,.0f}",
            f"{facts['accounted_bytes_per_event']:.1f}",
            f"{facts['resident_bytes'] / 1e6:,.0f}",
            f"{facts['load_seconds']:.1f}",
        ]
        for name, facts in result.memory.items()
    ]
    yield from _table(["engine", "accounted MB", "accounted bytes per event", "resident MB", "load s"], rows)


def _roofline(result: RunResult, plots: Path) -> Iterator[str]:
    if not result.roofline:
        return
    medians = {name: rate["median"] for name, rate in result.roofline.items()}
    plot_rates(medians, "Memory bandwidth", "GB/s", "{:.1f}", plots / f"{result.scale}-roofline.png")
    yield from ("", "## Roofline", "", f"![roofline](plots/{result.scale}-roofline.png)", "")
    rows = [[name, f"{rate['median']:.1f}", f"{rate['best']:.1f}"] for name, rate in result.roofline.items()]
    yield from _table(["kernel and threads", "median GB/s", "best GB/s"], rows)
    yield from (
        "",
        "Bytes of columns that a query touches, through the time inside our engine, as a share of `read_2`:",
        "",
    )
    rates = [(name, query.engine_gb_per_second) for name, query in result.queries.items()]
    shares = [
        [name, f"{result.queries[name].engine_bytes or 0:,}", f"{rate:.1f}", f"{rate / medians['read_2']:.0%}"]
        for name, rate in rates
        if rate is not None
    ]
    yield from _table(["query", "bytes", "GB/s", "share of read bandwidth"], shares)


def _live(result: RunResult) -> Iterator[str]:
    if not result.live:
        return
    yield from ("", "## Live", "", "Each question while events arrive, in a store where nothing was settled first.", "")
    header = ["query", "settled p50 ms", "live p50 ms", "live p99 ms", "live / settled"]
    yield from _table(header, [[name, *map(str, facts.values())] for name, facts in result.live["queries"].items()])
    yield ""
    yield from _table(["what", "value"], [[k, str(v)] for k, v in result.live.items() if k != "queries"])


def _concurrency(result: RunResult) -> Iterator[str]:
    if result.concurrency:
        yield from ("", "## Concurrency", "", "One question, asked by clients in processes of their own.", "")
        header = ["clients", "questions a second", "p50 ms", "p99 ms"]
        yield from _table(header, [[name, *map(str, facts.values())] for name, facts in result.concurrency.items()])


def _extras(result: RunResult) -> Iterator[str]:
    shown = {"Store": result.store, "Overhead": result.overhead, "Mixed": result.mixed, "Snapshot": result.snapshot}
    for title, facts in shown.items():
        if facts:
            yield from ("", f"## {title}", "")
            yield from _table(["what", "value"], [[name, str(value)] for name, value in facts.items()])


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)


def main(result: Annotated[Path, typer.Argument(exists=True, help="A result's JSON file")]) -> None:
    """Write the report of a result."""
    typer.echo(write_report(result))


if __name__ == "__main__":
    typer.run(main)
