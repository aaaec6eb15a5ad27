"""A data set on disk: where its Parquet files are and what its manifest promises."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from benchmarks.scales import Scale

GENERATOR_VERSION: Final = 1
"""Raised whenever the same seed and scale would give other data, so that no old cache is taken for new."""

_MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a complete data set holds; written last, so its presence means that nothing is missing."""

    scale: str
    seed: int
    generator_version: int
    profile_count: int
    event_count: int
    change_count: int


@dataclass(frozen=True, slots=True)
class Dataset:
    """The files of one seed and scale."""

    directory: Path

    @property
    def profiles(self) -> Path:
        """Profiles: user_id, set_at and the twelve attributes as set then; ordered by set_at."""
        return self.directory / "profiles.parquet"

    @property
    def changes(self) -> Path:
        """Later attribute changes: user_id, time, plan, country."""
        return self.directory / "attribute_changes.parquet"

    @property
    def events(self) -> Path:
        """Folder of the event parts; in the order of their names they are in order of arrival."""
        return self.directory / "events"

    @property
    def event_parts(self) -> list[Path]:
        """The event files in order of arrival."""
        return sorted(self.events.glob("part-*.parquet"))

    def manifest(self) -> Manifest | None:
        """The manifest, or None where the data set is absent or was left unfinished."""
        path = self.directory / _MANIFEST
        return Manifest(**json.loads(path.read_text())) if path.exists() else None

    def complete(self, manifest: Manifest) -> None:
        """Declare the data set finished, atomically."""
        partial = self.directory / (_MANIFEST + ".partial")
        partial.write_text(json.dumps(asdict(manifest), indent=2) + "\n")
        partial.replace(self.directory / _MANIFEST)


def dataset_at(cache: Path, scale: Scale, seed: int) -> Dataset:
    """The place of a scale and seed inside a cache folder."""
    return Dataset(cache / f"{scale.name}-seed{seed}-v{GENERATOR_VERSION}")


def is_reusable(dataset: Dataset, scale: Scale, seed: int) -> bool:
    """Whether the files there are complete and made by this generator for this scale and seed."""
    found = dataset.manifest()
    return (
        found is not None
        and (found.scale, found.seed, found.generator_version) == (scale.name, seed, GENERATOR_VERSION)
        and (found.profile_count, found.event_count) == (scale.profile_count, scale.event_count)
    )
