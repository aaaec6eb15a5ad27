"""Bounds of messages and requests, with their reasons."""

from __future__ import annotations

from typing import Final

from cdp_store.limits import LOG_RECORD_BYTES_MAX, MIB

ROWS_BYTES_MAX: Final = 4 * MIB  # the receive limit gRPC clients and servers have by default
COLUMNS_BYTES_MAX: Final = 64 * MIB
MESSAGE_BYTES_MAX: Final = COLUMNS_BYTES_MAX + MIB
ROUTER_MESSAGE_BYTES_MAX: Final = MESSAGE_BYTES_MAX + MIB  # a little more is read, to be refused with its limit
SHARD_MESSAGE_BYTES_MAX: Final = 2 * MESSAGE_BYTES_MAX  # long form may be wider than the columns it came from
# The content of a batch. Its bytes do not measure it: compression, dictionaries and arrays of nothing make much of
# little. The first number of each pair is free; a larger batch may hold more in proportion to its bytes.
RECORDS_MAX: Final = 1 << 20  # of any batch
ROWS_RECORDS_MAX: Final = 1 << 18  # of rows: the shortest acceptable one has 16 bytes, and 4 MiB is the limit
COLUMNS_VALUES: Final = 1 << 20  # of Arrow columns: about 100 bytes each while they are read
VALUE_BYTES_MIN: Final = 2  # or one for so many bytes of the stream
COLUMNS_PLAIN_BYTES: Final = 16 * MIB  # after decompression, and of texts in dictionaries
COLUMNS_GROWTH_MAX: Final = 4  # or so many times the bytes of the stream
COLUMNS_MAX: Final = 1 << 14  # columns, and names of values in a column of named ones
SPREAD_BYTES: Final = 32 * MIB  # in long form, sent to partitions: a text goes to each that has it
SPREAD_GROWTH_MAX: Final = 8
SPREAD_BYTES_MAX: Final = 120 * MIB  # that one shard can receive, and log, in one piece
# Work on rows that the kernel leaves is done in pieces: the deadline is checked between them.
PIECE_RECORDS: Final = 2048
READ_AT_ONCE_BYTES: Final = 64 * 1024  # of a request: a smaller one is one piece of work
# Records of a batch that are reported one by one as refused, and as breaking a rule; beyond, they are counted.
ERRORS_TOLD_MAX: Final = 10_000
ERRORS_TOLD_BYTES: Final = 2 * MIB  # of messages: the answer must fit the limit of clients, 4 MiB
REQUEST_BYTES_MAX: Final = MIB  # of everything that carries no batch: texts and trees are far below
# Requests with batches that a router reads at once: each may take MESSAGE_BYTES_MAX before its size is known.
READINGS_MAX: Final = 16
READING_OF_KEY_MAX: Final = 12  # one key, which may be public, must leave room for others
READING_WAIT_SECONDS: Final = 5.0
READ_SECONDS: Final = 30.0  # for a whole request to come in
STREAM_IDLE_SECONDS: Final = 1.0  # after this wait for a batch a stream may be ended for others that lack a turn
BATCH_ID_BYTES_MAX: Final = 64
ENVELOPE_BYTES_MAX: Final = 2048  # of a record's envelope
INGEST_BYTES_IN_FLIGHT_MAX: Final = 256 * MIB
INGEST_RETRY_AFTER_MS: Final = 250
# Batches that go to the shards together, and how many such flights are under way: more would carry less each.
FLIGHT_RECORDS_MAX: Final = 16_384
FLIGHT_BYTES_MAX: Final = 8 * MIB
FLIGHTS_MAX: Final = 2
FLIGHT_SECONDS: Final = 0.05  # after which the next one no longer waits for a flight that has not ended
# Share of the machine's memory for its shards together: the rest is for the router, the system and its caches.
MEMORY_SHARE_OF_SHARDS: Final = 0.8
MEMORY_OF_OTHER_PROCESSES: Final = 640 * MIB  # router, gateway and supervisor: 560 MB as measured
MEMORY_HIGH_WATER: Final = 0.9  # of a shard's budget: above, new data is refused; the rest is for queries
MEMORY_RETRY_AFTER_MS: Final = 5000
PROFILE_EVENTS_DEFAULT: Final = 100
PROFILE_EVENTS_MAX: Final = 10_000
PROFILES_PER_BATCH_MAX: Final = 100
PROFILES_READ_AT_ONCE: Final = 16  # of one batch: others must not wait for all of it
EVENT_NAMES_PER_PAGE_MAX: Final = 100
MEMBERS_AT_ONCE: Final = 16_384  # of one partition, read together
MEMBER_MESSAGE_BYTES: Final = MIB  # beyond, a message has only what is read at once; a slow client costs some of them
MEMBER_ATTRIBUTES_MAX: Final = 256
MEMBER_STREAMS_MAX: Final = 64  # of one router at a time
MEMBER_STREAMS_RETRY_MS: Final = 1000
EXPORTS_MAX: Final = 8  # of persons, of one router at a time: each holds some megabytes and reads files
EXPORTS_RETRY_MS: Final = 1000
EXPORTS_OF_ALL_MAX: Final = 2  # of one router at a time: each reads all that shards hold
SCHEMA_RULES_MAX: Final = 4096
SCHEMA_ALLOWED_MAX: Final = 1000  # values of one property
QUARANTINED_DEFAULT: Final = 100  # records of a page
QUARANTINED_MAX: Final = 1000
SCHEMA_LOOK_SECONDS: Final = 1.0  # between checks for newer rules
PARTITIONS_DEFAULT: Final = 16
PARTITIONS_MAX: Final = 1024
QUERY_SECONDS_DEFAULT: Final = 30.0  # the deadline of a caller that gives none
QUERIES_WAITING_MAX: Final = 64  # in front of a shard's threads: more would only wait for their deadlines
QUERY_RETRY_AFTER_MS: Final = 250
LONG_QUESTION_BYTES: Final = 2048  # read in some ten milliseconds; longer ones have a thread of their own
INGEST_SECONDS_DEFAULT: Final = 60.0
REQUEST_SECONDS_MAX: Final = 600.0  # whatever deadline a caller gives
LONG_SECONDS_MAX: Final = 3600.0  # of methods that read or write everything; the shards keep answering meanwhile
SLOW_QUERY_MS_DEFAULT: Final = 1000.0  # answers that took longer are logged
SNAPSHOT_MINUTES_DEFAULT: Final = 15.0  # bounds the log a restart replays
DEFAULT_PORT: Final = 7400
GATEWAY_PORT: Final = 7480
ROUTERS_MAX: Final = 64

assert COLUMNS_BYTES_MAX < LOG_RECORD_BYTES_MAX, "a batch of columns must fit one log record"
assert ROWS_BYTES_MAX < COLUMNS_BYTES_MAX < MESSAGE_BYTES_MAX
assert STREAM_IDLE_SECONDS < READING_WAIT_SECONDS, "a waiting request must learn that a stream gave way"
assert ROWS_BYTES_MAX // 16 <= ROWS_RECORDS_MAX <= RECORDS_MAX
assert min(LOG_RECORD_BYTES_MAX, SHARD_MESSAGE_BYTES_MAX) > SPREAD_BYTES_MAX, "an accepted batch must fit a log record"

# Named segments are in one file that every change rewrites.
SEGMENTS_MAX: Final = 10_000
SEGMENT_VERSIONS_MAX: Final = 1000

PROOF_SHOWN_MAX: Final = 20  # events and values for each part of a proof; their number is always given

# A text is at most some kilobytes, its tree some more.
QUESTIONS_REMEMBERED: Final = 256
# Per question: messages of a member list that shards may have sent before the client has read them.
MEMBER_RESPONSES_AHEAD: Final = 4

# A refusal for another epoch is sent in metadata, and gRPC limits that to 8 KB.
CLAIMS_TOLD_MAX: Final = 128

SHARD_CHANNEL_OPTIONS: Final = (
    ("grpc.max_receive_message_length", SHARD_MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", SHARD_MESSAGE_BYTES_MAX),
    # A shard that was restarted must be found again within a second, not after gRPC's usual two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # Bytes of a list of members that may arrive before its reader asks for them; otherwise gRPC lets that grow with the
    # speed of the connection, to megabytes for each list.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 256 * 1024),
)

# Partitions on their way to another shard
EPOCH_MAX: Final = 1 << 48
EXPORT_PIECE_BYTES: Final = 4 * MIB
CATCH_UP_RECORDS: Final = 32  # that may be missing when the giver is asked to release: it answers nothing from then on
MOVE_CALL_SECONDS: Final = 30.0
MOVE_COPY_SECONDS: Final = 3600.0  # for the giver to write its copy

# Views held between the two steps of a question while profiles move: their number in a shard, and for how long.
HELD_VIEWS_MAX: Final = 256
HELD_VIEWS_SECONDS: Final = 60.0
# Of profiles that wait to be moved, the number that a shard reports at once: bounds a transfer.
MOVES_TOLD_MAX: Final = 1000
IDENTITIES_READ_MAX: Final = 1000  # identifiers in one request to a shard
MOVING_SECONDS: Final = 5.0  # between checks for moves that a router did not finish
