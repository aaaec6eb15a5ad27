"""The generated pages of the reference are current, and leave nothing out."""

from __future__ import annotations

from docs.generate import PAGES, stale
from docs.pages.errors import RECORD_CODES, record_codes
from docs.pages.limits import limits_of

# What looks like a code in the rooms of records and is none of a record.
_OTHERS = frozenset(
    (
        *("BATCH_INVALID", "BATCH_TOO_LARGE", "DOCUMENT_CHANGED", "DOCUMENT_TOO_LARGE", "EXPORT_LOST"),
        *("FILES_NOT_REMOVED", "PLACE_UNUSABLE", "SNAPSHOT_DAMAGED", "SNAPSHOT_FAILED", "STORAGE_FULL"),
        *("STORE_FAILED", "SHARD_CALL_FAILED", "TAIL_LOST", "IDENTIFIER_LIMIT", "SCHEMA_QUARANTINED"),
    )
)


def test_generated_pages_are_current() -> None:
    assert len(PAGES) == 6
    assert stale() == [], "run make docs"


def test_every_code_of_a_record_is_described_and_raised() -> None:
    assert record_codes() - _OTHERS == set(RECORD_CODES)


def test_a_limit_is_read_with_its_value_and_reason() -> None:
    known = {each.name: each for each in limits_of("cdp_store.limits")}
    assert (known["LIST_ITEMS_MAX"].value, known["LIST_ITEMS_MAX"].group) == (100, "What one record may hold.")
    assert known["SPARSE_BUCKET_EVENTS"].reason.startswith("below, a chunk's fixed cost")  # beside a value in brackets
