"""Every bound of the store with its reason; relations between bounds are checked at import."""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

# Layout.
MORSEL_BITS: Final = 16  # a row inside its morsel fits u16; a u32 accumulator of one morsel stays in L2
MORSEL_ROWS: Final = 1 << MORSEL_BITS
DAY_MS: Final = 86_400_000
BUCKET_MS: Final = 28 * DAY_MS  # four weeks: a 30-day window touches at most three buckets
BLOCK_ROWS_MIN: Final = 1024  # a small partition must not pay for a whole morsel per column
SPARSE_TIMES_MAX: Final = MORSEL_ROWS // 4  # exceptional times of a morsel kept as a list; beyond, a column is shorter
MAPPED_BYTES_MIN: Final = 256 * KIB  # larger growing arrays are mappings of their own: room not used yet is free
HUGE_PAGE_BYTES: Final = 2 * MIB
HUGE_BYTES_MIN: Final = 8 * MIB  # larger ones ask for huge pages: on average a page stays unused, an eighth at most
NARROW_ARENA_BYTES_MAX: Final = (1 << 31) - 1  # strings beyond need 64-bit offsets; Arrow's 32-bit ones are signed

BUCKETS: Final = 1000  # parts of the population that segments can name; frozen, users would move between them

# Sealing and compaction.
DELTA_EVENTS_MAX: Final = 131_072  # per partition: bounds the cost for a query to sort an unsealed tail
READ_DELTA_EVENTS_MAX: Final = 4096  # the same while questions read the tail: each sorts it anew
BUCKET_CHUNKS_MAX: Final = 4  # chunks of one name and bucket before compaction merges them
CHUNKS_MERGED_MIN: Final = 2
CHUNK_GROWTH: Final = 8  # while questions read: a chunk is merged with newer ones before these hold an eighth as much
SPARSE_BUCKET_EVENTS: Final = (
    1024  # below, a chunk's fixed cost exceeds that of 64-bit times in a chunk of several buckets
)
WIDE_CHUNK_EVENTS_MAX: Final = 8192  # about as many events as a query scans in the time it spends on one more chunk
# Of a chunk's columns, which have a slot for every event: so many bytes, and more for each value. Events with a few of
# very many properties get chunks of their own, so that memory follows the data.
CHUNK_SLOT_BYTES: Final = 1 << 20
SLOT_BYTES_PER_VALUE: Final = 2048
ERASED_ROWS_MAX: Final = 1024  # rows of erased profiles that a busy partition keeps before it is purged
RETENTION_DAYS_MAX: Final = 366_000  # a thousand years: beyond, cutoffs would leave the calendar
# When nothing arrives there is time to reduce the work of queries; a smaller tail costs them next to nothing.
IDLE_DELTA_EVENTS_MAX: Final = 1024
IDLE_BUCKET_CHUNKS_MAX: Final = 2

# What one record may hold.
NAME_BYTES_MAX: Final = 120
STRING_BYTES_MAX: Final = MIB - 4 * KIB  # the room of a record next to names
RECORD_BYTES_MAX: Final = MIB  # libraries promise 32 KB and send anything
IDENTIFIER_BYTES_MAX: Final = 512
MESSAGE_ID_BYTES_MAX: Final = 128
PROPERTIES_PER_RECORD_MAX: Final = 256
NESTING_DEPTH_MAX: Final = 3
LIST_ITEMS_MAX: Final = 100
FUTURE_SKEW_MS: Final = DAY_MS
NAMES_PER_BATCH_MAX: Final = 0xFFFF  # event names, and keys: a batch numbers them in u16; 0xFFFF marks attributes

# Event times must stay clear of int64 arithmetic limits in window computations.
TIME_MIN_MS: Final = -62_135_596_800_000  # 0001-01-01
TIME_MAX_MS: Final = 253_402_300_799_999  # 9999-12-31

# Names that one partition may know: bounds the memory of an explosion of names.
EVENT_NAMES_MAX: Final = 512
PROPERTY_NAMES_MAX: Final = 4096
ATTRIBUTE_NAMES_MAX: Final = 4096

# Log.
LOG_SEGMENT_BYTES: Final = 256 * MIB
LOG_RECORD_BYTES_MAX: Final = 128 * MIB  # a length beyond this in a header is damage, not data
COMMIT_GROUP_BYTES_MAX: Final = 64 * MIB
LOG_RESERVE_BYTES: Final = 8 * MIB  # held back for records that free space or must be accepted on a full disk
LOG_SYNC_INTERVAL_MS: Final = 100  # in the mode that acks before it syncs: a power loss may cost this much

# Partitions on their way to another shard
TAIL_BYTES_MAX: Final = 256 * MIB  # logged while a partition is copied; beyond, the copy begins again
DOCUMENT_BYTES_MAX: Final = 64 * MIB  # of the cluster, kept with a partition: it travels in one message
TAIL_PIECE_BYTES: Final = 4 * MIB  # of one answer, but for one larger record

# Profiles on their way to another partition
PARCEL_PIECE_BYTES: Final = (
    16 * MIB
)  # of one log record and message, except for one larger record; some may be reported at once
PARCELS_TOLD_BYTES: Final = 48 * MIB

# Reading all of one person, page by page
PAGE_RECORDS: Final = 4096
PAGE_BYTES: Final = 8 * MIB  # of one answer, but for one larger record
RECEIPT_ROWS: Final = 1 << 17  # read from files at once: files are read again for each such lot

# Snapshots.
SNAPSHOTS_KEPT: Final = 2
SNAPSHOT_FILE_CELLS_MAX: Final = 1 << 24  # rows x columns of one file: writing one may need this much memory, x 9 bytes
SNAPSHOT_ROW_GROUP_ROWS: Final = 1 << 20
SNAPSHOT_SMALL_FILE_ROWS: Final = 1 << 16
APPLIED_RECORDS_MAX: Final = 1 << 14  # of batches of one group that are applied together: beyond, nothing is saved
COLD_FILE_ROWS: Final = 1 << 18  # about 70 bytes each in memory while a file is written, for each partition of a shard
COLD_LOG_BYTES: Final = 64 * MIB  # logged before its cold columns go to files: about a million records
COLD_LOG_BYTES_IDLE: Final = 8 * MIB  # the same when nothing arrives; less would make files that are small
SNAPSHOT_SMALL_FILES_MAX: Final = 8  # per partition and kind; more are rewritten as one

ERASED_VALUES_MAX: Final = 1 << 20  # different texts of one person that an erasure searches for: 8 MiB of hashes
QUARANTINE_BYTES_MAX: Final = 64 * MIB  # of one partition, in memory; beyond, records that break a rule are refused

# Message ids remembered per partition: two generations of this many, or of this time if fewer come.
DEDUPE_IDS_PER_GENERATION: Final = 1 << 20
DEDUPE_WINDOW_MS: Final = 7 * DAY_MS  # phones that were offline send late
BATCH_IDS_REMEMBERED: Final = 1 << 16

assert BUCKET_MS < 1 << 32, "a time inside its bucket must fit u32 milliseconds"
assert 2 * SPARSE_BUCKET_EVENTS <= WIDE_CHUNK_EVENTS_MAX, "two sparse buckets must fit one wide chunk"
assert BLOCK_ROWS_MIN <= MORSEL_ROWS
assert CHUNKS_MERGED_MIN <= IDLE_BUCKET_CHUNKS_MAX <= BUCKET_CHUNKS_MAX
assert LOG_SEGMENT_BYTES + LOG_RECORD_BYTES_MAX < 1 << 32, "offsets inside a segment are u32"
assert LOG_RESERVE_BYTES > RECORD_BYTES_MAX
assert STRING_BYTES_MAX < RECORD_BYTES_MAX < LOG_RECORD_BYTES_MAX
assert EVENT_NAMES_MAX < 1 << 16, "name ids are u16"
assert PROPERTY_NAMES_MAX < 1 << 16 and ATTRIBUTE_NAMES_MAX < 1 << 16, "key ids are u16"
assert max(PROPERTY_NAMES_MAX, ATTRIBUTE_NAMES_MAX) << 2 <= 1 << 16, "dictionary scopes are sorted as u16"
assert TIME_MIN_MS < 0 < TIME_MAX_MS < 1 << 62
