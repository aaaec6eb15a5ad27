"""Columns of the tables that a program is made of: all are i64, so that one kernel takes them whatever they describe.

A table's row is a struct; the constants number its fields. Addresses are those of arrays that `BoundProgram.kept` keeps
alive.
"""

from __future__ import annotations

from typing import Final

# A chunk of events (see EventChunk).
CHUNK_RUN_ROWS: Final = 0
CHUNK_RUN_STARTS: Final = 1
CHUNK_RUN_OFFSETS: Final = 2
CHUNK_TIMES: Final = 3
CHUNK_IS_WIDE: Final = 4  # times are i64, not u32
CHUNK_BASE_MS: Final = 5
CHUNK_FIRST_MS: Final = 6
CHUNK_LAST_MS: Final = 7
CHUNK_EVENTS: Final = 8
CHUNK_MORSELS: Final = 9
CHUNK_INDEX_BYTES: Final = 10
CHUNK_TIME_BYTES: Final = 11
CHUNK_FIELDS: Final = 12

# A column of values (see EventColumn).
COLUMN_KIND: Final = 0
COLUMN_DTYPE: Final = 1
COLUMN_VALUES: Final = 2
COLUMN_PRESENT: Final = 3  # 0: every entry has a value
COLUMN_BASE: Final = 4
COLUMN_SCALE: Final = 5  # -1: no decimal
COLUMN_LOW: Final = 6  # of the values that integers or mantissas represent
COLUMN_HIGH: Final = 7
COLUMN_COUNT: Final = 8
COLUMN_BYTES: Final = 9
COLUMN_FIELDS: Final = 10

U8_VALUES: Final = 0
U16_VALUES: Final = 1
U32_VALUES: Final = 2
I64_VALUES: Final = 3
F32_VALUES: Final = 4
F64_VALUES: Final = 5

# The unsealed events and the rows of a partition.
PART_ROWS: Final = 0
PART_POPULATION: Final = 1  # address of bool[rows]; 0: every row
PART_FIRST_ROW: Final = 2  # of its rows in the mask of all
PART_DELTA: Final = 3  # number of unsealed events; then the addresses of their arrays (see DeltaReading)
PART_DELTA_ROWS: Final = 4
PART_DELTA_NAMES: Final = 5
PART_DELTA_TIMES: Final = 6
PART_DELTA_ENDS: Final = 7
PART_DELTA_KEYS: Final = 8
PART_DELTA_KINDS: Final = 9
PART_DELTA_RAWS: Final = 10
PART_FIELDS: Final = 11

# A test of values (see Matcher): what does not differ between partitions, then a slot for each kind.
TEST_NEGATED: Final = 0
TEST_KEY: Final = 1  # the property or attribute in the partition; -1: unknown there
TEST_OFFSETS: Final = 2  # columns of chunk or morsel i are offsets[i]:offsets[i + 1] of those at TEST_COLUMNS
TEST_COLUMNS: Final = 3
TEST_SLOTS: Final = 4
SLOT_MODE: Final = 0
SLOT_ADDRESS: Final = 1
SLOT_COUNT: Final = 2
SLOT_DECIMALS: Final = 3  # of floats: the same ranges as mantissas, for scale 0, then 1, ...; of strings: a search
SLOT_FIELDS: Final = 4
KINDS: Final = 7
TEST_FIELDS: Final = TEST_SLOTS + KINDS * SLOT_FIELDS

MODE_OTHER_TYPE: Final = 0
MODE_EVERYTHING: Final = 1
MODE_RANGES: Final = 2  # SLOT_COUNT closed intervals, in the kind's own domain
MODE_TABLE: Final = 3  # SLOT_COUNT bools, by code
MODE_CODES: Final = 4  # SLOT_COUNT codes, at most two, in the places of SLOT_ADDRESS and SLOT_DECIMALS

# A search that fills the table of strings as rows ask for them; 0: the table is filled.
SEARCH_WANTED: Final = 0  # address of the bytes that are searched for, and their number
SEARCH_LENGTH: Final = 1
SEARCH_OFFSETS: Final = 2  # address of where strings begin, u32 or i64, by code
SEARCH_IS_WIDE: Final = 3
SEARCH_DATA: Final = 4  # address of all bytes, and their number
SEARCH_BYTES: Final = 5
SEARCH_SEEN: Final = 6  # address of u8[codes]: what has been searched
SEARCH_IS_DONE: Final = 7  # all have been
SEARCH_FIELDS: Final = 8

# A filter on events, in postfix form: (operation, test).
FILTER_TEST: Final = 0
FILTER_AND: Final = 1
FILTER_OR: Final = 2
FILTER_NOT: Final = 3
FILTER_CONSTANT: Final = 4
FILTER_FIELDS: Final = 2

# A predicate: what does not differ between partitions.
LEAF_KIND: Final = 0
LEAF_NODE: Final = 1  # row of the counters
LEAF_TEST: Final = 2  # of an attribute; the test of a number
LEAF_FILTER: Final = 3  # its operations are filters[LEAF_FILTER:LEAF_FILTER_END]
LEAF_FILTER_END: Final = 4
LEAF_FIRST_MS: Final = 5
LEAF_LAST_MS: Final = 6
LEAF_LOW: Final = 7  # of a count, or of a sum at the scale SUM_SCALE: certainly inside
LEAF_HIGH: Final = 8
LEAF_NEGATED: Final = 9
LEAF_EXCLUDE_ZERO: Final = 10
LEAF_MAYBE_LOW: Final = 11  # of a sum: beyond these it is certainly outside
LEAF_MAYBE_HIGH: Final = 12
LEAF_INT_LOW: Final = 13  # of a sum of integers
LEAF_INT_HIGH: Final = 14
LEAF_STEPS: Final = 15  # of a sequence: that many leaves follow, a step each, then for a funnel one of recent entries
LEAF_WITHIN: Final = 16  # ms; -1: no limit
LEAF_STRICT: Final = 17  # steps at the same instant are not in order
LEAF_REPORTS: Final = 18  # a funnel: the depth of every row counts, not only whether all steps are completed
LEAF_EDGES: Final = 19  # address of the first milliseconds of days or other periods; how many, with the last's end
LEAF_EDGE_COUNT: Final = 20
LEAF_BLOCKS: Final = 21  # address and size of the table of Periods.blocks, and its block_bits
LEAF_BLOCK_COUNT: Final = 22
LEAF_BLOCK_BITS: Final = 23
LEAF_UNIT: Final = 24  # ms of a period that counts from the entry; 0: calendar periods
LEAF_PERIODS: Final = 25
LEAF_TO_THE_END: Final = 26  # a later return counts for the periods before it too
LEAF_WITH_ENTRY: Final = 27  # a return at the instant of the entry counts
LEAF_EVEN_MS: Final = 28  # length of all periods; 0: they differ
LEAF_FIELDS: Final = 29

ATTRIBUTE_LEAF: Final = 0
COUNT_LEAF: Final = 1
SUM_LEAF: Final = 2
DAYS_LEAF: Final = 3
SEQUENCE_LEAF: Final = 4
TREND_LEAF: Final = 5
ENTRY_LEAF: Final = 6
RETURN_LEAF: Final = 7
MARK_LEAF: Final = 8  # a pass that marks rows with events
LIST_LEAF: Final = 9  # a pass that lists events by row and time

# The same predicate in one partition.
BOUND_CHUNKS: Final = 0
BOUND_CHUNK_COUNT: Final = 1
BOUND_NAMES: Final = 2
BOUND_NAME_COUNT: Final = 3
BOUND_PROPERTY: Final = 4  # that is added up
BOUND_OFFSETS: Final = 5  # its columns by chunk, as in a test
BOUND_COLUMNS: Final = 6
BOUND_GIVEN: Final = 7  # address of the mask, bool[rows], where it was computed elsewhere
BOUND_EVENTS: Final = 8  # in all its chunks
BOUND_RETURNED: Final = 9  # address of bool[rows]: returned at the instant of the entry; 0: none did
BOUND_INSTANT: Final = 10  # ms, of an attribute that has changed since
BOUND_SINCE: Final = 11  # address of the table of times since when its values hold, a row per morsel; 0: all hold
BOUND_FIELDS: Final = 12

# Since when the values of an attribute in one morsel hold (see MorselTimes and AttributeBlock). Its older values are
# the chunks and columns of the bound predicate, in order of arrival.
SINCE_FIRST: Final = 0  # address of the column of times when attributes were first set; 0: never
SINCE_ROWS: Final = 1  # addresses of u16[n] rows of which values are newer, and of i64[n] since when
SINCE_TIMES: Final = 2
SINCE_COUNT: Final = 3
SINCE_COLUMN: Final = 4  # address of a column of such times, where rows are many; or 0
SINCE_FIELDS: Final = 5

# Operations of a program on masks of one morsel: (operation, mask, argument, counters of the node or -1, undecided).
# `undecided` names the mask of what earlier parts have decided, above one bit: 0 its rows that hold are open, 1 the
# others; ALL_OPEN if every row is.
DO_LEAF: Final = 0  # argument: the leaf
DO_AND: Final = 1  # mask &= mask + 1
DO_OR: Final = 2
DO_NOT: Final = 3
DO_SKIP_IF_NONE: Final = 4  # argument: the operation to go on with if no row is left
DO_SKIP_IF_ALL: Final = 5
DO_KEEP: Final = 6  # argument: slot that keeps the mask of a part that occurs again
DO_RECALL: Final = 7  # argument: that slot, and above 8 bits the operation to go on with if it holds the mask already
DO_TRUE: Final = 8
DO_FALSE: Final = 9
DO_NOTE: Final = 10  # counts the rows of the node, nothing else
OPERATION_FIELDS: Final = 5
ALL_OPEN: Final = -1

# Counters of a node (see NodeStats).
COUNT_CHUNKS: Final = 0
COUNT_PRUNED: Final = 1
COUNT_EVENTS: Final = 2
COUNT_BYTES: Final = 3
COUNT_TRUE: Final = 4
COUNT_MISMATCH: Final = 5
COUNT_CYCLES: Final = 6
COUNT_ROWS: Final = 7
COUNT_EVALUATIONS: Final = 8
COUNTERS: Final = 9

SUM_SCALE: Final = 4  # the greatest of stored decimals: all are added up as if they had it
BLOCK_ROWS: Final = 4096  # rows or events that all steps of a test pass before the next: they stay in the nearest cache
FEW: Final = 16  # rows are few if they are one in so many, or fewer: then only their events are looked at
SUM_MAX: Final = 1 << 62
DAYS_MAX: Final = 64  # local days of a window: a bit each
