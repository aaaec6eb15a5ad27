"""Bounds of requests over HTTP, with their reasons."""

from __future__ import annotations

from typing import Final

from cdp_router.limits import ROWS_BYTES_MAX
from cdp_store.limits import MIB, NAMES_PER_BATCH_MAX, PROPERTIES_PER_RECORD_MAX, RECORD_BYTES_MAX

# Clients drop requests answered with 413: it must be more than any of them builds.
BODY_BYTES_MAX: Final = 20 * MIB  # after decompression, and before
ITEMS_PER_REQUEST_MAX: Final = 5000
BODIES_BYTES_MAX: Final = 256 * MIB  # of all requests at work: beyond, new ones are refused for the moment
WAITING_BYTES_MAX: Final = 64 * MIB  # of rows on their way to the router
LARGE_BODY_BYTES: Final = 256 * 1024  # decoded outside of the event loop
# Some kilobytes of gzip become 20 MiB of `[],[],...`, which take half a gigabyte once they are decoded.
DECODED_BYTES_MAX: Final = 96 * MIB  # of one body: more than a million values, or some 450,000 with names
LARGE_DECODED_BYTES_MAX: Final = 256 * MIB  # of all large bodies at work: beyond, new ones are refused for the moment
KEY_BYTES_MAX: Final = 256
BATCH_ROWS_MAX: Final = 5000
BATCH_BYTES_MAX: Final = ROWS_BYTES_MAX // 2
CALLS_AT_ONCE: Final = 4  # to routers; a second one under the same key only if full, or after a long wait
PATIENCE_SECONDS: Final = 0.25  # after this wait rows leave although a call is under way: that one may hang
ROWS_ALONE_MAX: Final = 255  # of a batch that can never mention too many names, whatever its rows are
DELIVERY_SECONDS: Final = 8.0  # clients give up on an answer after 10
WAITING_SECONDS_MAX: Final = 4.0  # for a call to begin: a longer wait is refused before the client gives up
READ_SECONDS: Final = 30.0  # for a whole request to come in
IDLE_SECONDS: Final = 75  # of a connection between two requests; load balancers in front mostly wait 60
HEADER_BYTES_MAX: Final = 64 * 1024
CONNECTIONS_MAX: Final = 10_000
RETRY_AFTER_SECONDS: Final = 2
QUERY_SECONDS: Final = 60.0

assert DECODED_BYTES_MAX + BODY_BYTES_MAX < LARGE_DECODED_BYTES_MAX
assert ROWS_ALONE_MAX * PROPERTIES_PER_RECORD_MAX < NAMES_PER_BATCH_MAX
assert PATIENCE_SECONDS < WAITING_SECONDS_MAX
assert 3 * RECORD_BYTES_MAX // 2 < BATCH_BYTES_MAX, "a record that may be taken fits a batch as msgpack"
assert BATCH_BYTES_MAX < WAITING_BYTES_MAX < BODIES_BYTES_MAX
