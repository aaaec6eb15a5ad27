"""Limits the size of answers to batches to the size clients accept, for any number of refused records."""

from __future__ import annotations

from collections.abc import MutableSequence

from cdp.v1 import ingest_pb2

from cdp_router.limits import ERRORS_TOLD_BYTES, ERRORS_TOLD_MAX


def shorten(result: ingest_pb2.BatchResult) -> None:
    """Keeps the first errors and warnings, which are in order, and counts the others; shortens the messages of many."""
    result.errors_omitted += _shortened(result.errors)
    result.warnings_omitted += _shortened(result.warnings)


def _shortened(told: MutableSequence[ingest_pb2.RecordError]) -> int:
    """Shortens a list of errors and their texts in place; returns the number of errors left out."""
    omitted = max(0, len(told) - ERRORS_TOLD_MAX)
    del told[ERRORS_TOLD_MAX:]
    if sum(len(each.message) for each in told) > ERRORS_TOLD_BYTES:
        characters = ERRORS_TOLD_BYTES // (4 * len(told))  # a character has four bytes at most
        for each in told:
            each.message = each.message[:characters]
    return omitted
