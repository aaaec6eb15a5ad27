"""Bounds of a question, with their reasons."""

from __future__ import annotations

from typing import Final

SEQUENCE_STEPS_MAX: Final = 32  # the steps an event matches are bits of a u32
PERIODS_MAX: Final = 366  # of a retention: a year of days
OVERLAP_SEGMENTS_MAX: Final = 6  # 64 combinations
GROUPS_MAX: Final = 10_000  # of a report; those with the smallest values are kept and the rest is summed
BREAKDOWN_VALUES_MAX: Final = 100_000  # of a breakdown: some megabytes; kept and summed like groups
PERIODS_SHOWN_MAX: Final = 40_000  # a century of days: empty periods are rows of the answer too
PART_BYTES_MAX: Final = 2 << 30  # of memory that one part of a question may need on a partition during evaluation
FLOW_DEPTH_MAX: Final = 10  # events of a path; people read three to five
FLOW_PATHS_MAX: Final = 200_000  # different paths of a flow, which travel to the router whole: about 5 MB
FLOW_NODES_SHOWN_MAX: Final = 1_000  # of a flow; the others are summed at the node they come from
QUERY_TEXT_CHARACTERS_MAX: Final = 64 * 1024  # a person's question is short; a generated one may be long
# A group is two messages deep, protobuf parsers stop at 100, and an event filter may nest again inside a segment.
QUERY_NESTING_MAX: Final = 20
EXPRESSION_TERMS_MAX: Final = (
    64  # left-nested as written: a person's formula is short, and its tree is walked recursively
)
NAMED_SEGMENT_DEPTH_MAX: Final = 16  # segments named inside segments
QUERY_NODES_MAX: Final = 20_000  # segments that name others twice grow by powers of two when written out
REGULARLY_PERIODS_MAX: Final = 1000  # each is a boundary in the calendar: almost three years of days, 19 of weeks
