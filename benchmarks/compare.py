"""What changed between two results: ratios of medians, each with its noise band."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from benchmarks.results import RunResult, read
from benchmarks.timings import Ratio, Timing, ratio


@dataclass(frozen=True, slots=True)
class Change:
    """One query on one engine, before and after."""

    query: str
    engine: str
    old: Timing
    new: Timing
    ratio: Ratio
    """New over old: below 1 is faster."""

    @property
    def verdict(self) -> str:
        """Faster, slower, or no more than noise."""
        if self.ratio.is_noise:
            return "noise"
        return "faster" if self.ratio.value < 1 else "slower"


def changes(old: RunResult, new: RunResult, engine: str | None = None) -> Iterator[Change]:
    """Changes of every query and engine that both results have; of one engine where it is named."""
    engines = [name for name in new.engines if name in old.engines and engine in (None, name)]
    for query, after in new.queries.items():
        before = old.queries.get(query)
        for name in engines:
            then, now = before.timing(name) if before else None, after.timing(name)
            if then is not None and now is not None:
                yield Change(query, name, then, now, ratio(now, then))


def differing_answers(old: RunResult, new: RunResult) -> list[str]:
    """Queries whose answers changed although scale and seed did not."""
    if (old.scale, old.seed) != (new.scale, new.seed):
        return []
    shared = old.queries.keys() & new.queries.keys()
    return sorted(name for name in shared if old.queries[name].answer != new.queries[name].answer)


def main(
    old: Annotated[Path, typer.Argument(exists=True)],
    new: Annotated[Path, typer.Argument(exists=True)],
    engine: Annotated[str | None, typer.Option(help="Only this engine")] = None,
) -> None:
    """Print the ratios of two results; fails where answers differ."""
    before, after = read(old), read(new)
    table = Table(Column("query", no_wrap=True), "engine", "old ms", "new ms", "new / old", "noise band", "verdict")
    for change in changes(before, after, engine):
        table.add_row(
            change.query,
            change.engine,
            f"{change.old.median:.2f}",
            f"{change.new.median:.2f}",
            f"{change.ratio.value:.2f}",
            f"{change.ratio.low:.2f} .. {change.ratio.high:.2f}",
            change.verdict,
        )
    console = Console()
    console.print(table)
    if wrong := differing_answers(before, after):
        console.print(f"[red]answers differ:[/red] {', '.join(wrong)}")
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
