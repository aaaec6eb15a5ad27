"""One command: make the data, load every engine, insist on equal answers, measure, and write the result."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from benchmarks import results
from benchmarks.agree import Agreement, AnswersDiffer, agree, demand
from benchmarks.answers import Answer, summarise
from benchmarks.dataset import Dataset
from benchmarks.engines import ENGINES, answers
from benchmarks.generate import DEFAULT_CACHE, generate
from benchmarks.ingest_ours import measure_our_ingest
from benchmarks.ingest_peers import measure_ingest
from benchmarks.measure import EngineProcess, Loaded, Measured, loaded_engines, measure_rounds
from benchmarks.mixed import measure_cluster
from benchmarks.processes import run_isolated
from benchmarks.queries import QUERIES
from benchmarks.results import OURS, QueryResult, RunResult
from benchmarks.roofline import measure_roofline
from benchmarks.scales import DEFAULT_SEED, SCALES, Scale, ScaleName
from benchmarks.timings import geometric_mean

DEFAULT_ENGINES: Final = ",".join(["ours", *(name for name, entry in ENGINES.items() if entry.is_peer)])
# Engines that hold this many events at once would not fit into the memory of a small machine.
INTERLEAVED_EVENTS_MAX: Final = 50_000_000

_console = Console(stderr=True)


@dataclass(slots=True)
class Findings:
    """What has been found out so far, by engine and by query."""

    loaded: dict[str, Loaded] = field(default_factory=dict)
    answers: dict[str, dict[str, Answer]] = field(default_factory=lambda: {query: {} for query in QUERIES})
    agreements: dict[str, Agreement] = field(default_factory=dict)
    timings: dict[str, dict[str, Measured]] = field(default_factory=lambda: {query: {} for query in QUERIES})


def run(scale: Scale, seed: int, engines: list[str], rounds: int, cache: Path, queries_only: bool = False) -> RunResult:
    """The whole of a run; raises AnswersDiffer before anything is timed that does not agree."""
    dataset = generate(scale, seed, cache)
    findings = Findings()
    groups = [engines] if scale.event_count <= INTERLEAVED_EVENTS_MAX else [[name] for name in engines]
    for group in groups:
        _console.print(f"loading {', '.join(group)}")
        with loaded_engines(group, dataset) as loaded:
            _measure_group({name: process for name, (process, _) in loaded.items()}, rounds, findings)
            findings.loaded |= {name: facts for name, (_, facts) in loaded.items()}
    return _result(
        scale,
        seed,
        rounds,
        findings,
        {} if queries_only else _sections(dataset, engines, is_short=scale.name == "smoke"),
    )


def _measure_group(engines: dict[str, EngineProcess], rounds: int, findings: Findings) -> None:
    for query in QUERIES:
        for name, engine in engines.items():
            if answers(name, query):
                findings.answers[query][name] = engine.answer(query)
        findings.agreements[query] = agree(query, findings.answers[query])
    demand(findings.agreements)
    with _console.status("measuring") as status:
        for query, measured in measure_rounds(engines, rounds, status.update).items():
            findings.timings[query] |= measured


def _sections(dataset: Dataset, engines: Iterable[str], *, is_short: bool) -> dict[str, dict[str, Any]]:
    """What is measured apart from the queries, by the result's section."""
    _console.print("measuring durable ingest, queries beside ingest, restart, and memory bandwidth")
    sections: dict[str, dict[str, Any]] = {
        "ingest": dict(measure_ingest(engines, dataset)),
        "roofline": run_isolated(measure_roofline),
    }
    if OURS in engines:
        sections["ingest"] |= {f"ours {road}": facts for road, facts in measure_our_ingest(dataset).items()}
        sections |= measure_cluster(dataset, is_short=is_short)
    return sections


def _result(scale: Scale, seed: int, rounds: int, findings: Findings, sections: dict[str, dict[str, Any]]) -> RunResult:
    queries = {name: _query_result(name, findings) for name in QUERIES}
    ratios = [q.ratio_to_best for q in queries.values() if q.behavioural and q.ratio_to_best is not None]
    return RunResult(
        scale=scale.name,
        seed=seed,
        profile_count=scale.profile_count,
        event_count=scale.event_count,
        rounds=rounds,
        date=results.today(),
        versions=results.versions({name: loaded.version for name, loaded in findings.loaded.items()}),
        machine=results.machine(),
        queries=queries,
        geomean_behavioural=geometric_mean(ratios),
        memory={name: _memory(loaded, scale) for name, loaded in findings.loaded.items()},
        **sections,
    )


def _query_result(name: str, findings: Findings) -> QueryResult:
    measured, agreement = findings.timings[name], findings.agreements[name]
    ours = measured.get(OURS)
    peers = {engine: each.total.median for engine, each in measured.items() if ENGINES[engine].is_peer}
    return QueryResult(
        answer=summarise(QUERIES[name].kind, agreement.answer),
        equal=agreement.equal,
        behavioural=QUERIES[name].behavioural,
        ours_ms=ours.total.median if ours else None,
        engine_ms=ours.inner.median if ours and ours.inner else None,
        engine_bytes=ours.bytes_touched if ours else None,
        peers=peers,
        ratio_to_best=round(min(peers.values()) / ours.total.median, 3) if ours and peers else None,
        spread={engine: [each.total.p10, each.total.p90] for engine, each in measured.items()},
    )


def _memory(loaded: Loaded, scale: Scale) -> dict[str, float]:
    return {
        "load_seconds": loaded.load_seconds,
        "accounted_bytes": loaded.accounted_bytes,
        "resident_bytes": loaded.resident_bytes,
        "accounted_bytes_per_event": round(loaded.accounted_bytes / scale.event_count, 2),
    }


def main(
    scale: Annotated[ScaleName, typer.Option()] = "S",
    engines: Annotated[str, typer.Option(help=f"Comma-separated, of {', '.join(ENGINES)}")] = DEFAULT_ENGINES,
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    seed: Annotated[int, typer.Option()] = DEFAULT_SEED,
    cache: Annotated[Path, typer.Option(help="Folder of data sets, kept between runs")] = DEFAULT_CACHE,
    out: Annotated[Path, typer.Option(help="Folder of results and reports")] = results.DEFAULT_RESULTS,
    queries_only: Annotated[bool, typer.Option(help="Leave out ingest and memory bandwidth")] = False,
) -> None:
    """Measure engines on one scale and write <out>/<scale>.json and its report."""
    names = [name.strip() for name in engines.split(",") if name.strip()]
    if unknown := set(names) - set(ENGINES):
        raise typer.BadParameter(f"unknown engines {sorted(unknown)}; there are {', '.join(ENGINES)}")
    try:
        result = run(SCALES[scale], seed, names, rounds, cache, queries_only)
    except AnswersDiffer as difference:
        _console.print(f"[red]answers differ[/red]\n{difference}")
        raise typer.Exit(1) from difference
    # Imported here: measuring needs no plotting library.
    from benchmarks.report import write_report

    path = out / f"{scale}.json"
    results.save(result, path)
    _console.print(f"wrote {path} and {write_report(path)}", soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
