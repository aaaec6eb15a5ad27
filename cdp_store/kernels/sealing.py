"""From events in order of arrival to columns in order of a chunk."""

from __future__ import annotations

import numpy as np

from cdp_store.arrays import F64, I32, I64, U8, U16, U32, AnyArray, Bools, Int
from cdp_store.kernels.jit import kernel
from cdp_store.kernels.order import stable_order_by_digit, stable_order_by_row_time


@kernel
def take_events(
    members: I64, rows: U32, times: I64, ends: I64, keys: U16, kinds: U8, raws: I64
) -> tuple[U32, I64, U32, U16, U8, I64]:
    """Rows, times and triples of some events (ascending) of a delta, whose event i has the triples up to ends[i].

    Gives rows u32[m], times i64[m], and per triple the place of its event among the members u32, key, kind, raw.
    Touches 28 bytes an event and 15 + 11 a triple.
    """
    count = members.shape[0]
    triples = 0
    for i in range(count):
        event = members[i]
        # Counted first: arrays in a kernel do not grow, and these may be most of a partition's new data.
        triples += ends[event] - (ends[event - 1] if event > 0 else 0)
    out_rows = np.empty(count, np.uint32)
    out_times = np.empty(count, np.int64)
    out_events = np.empty(triples, np.uint32)
    out_keys = np.empty(triples, np.uint16)
    out_kinds = np.empty(triples, np.uint8)
    out_raws = np.empty(triples, np.int64)
    at = 0
    for i in range(count):
        event = members[i]
        out_rows[i] = rows[event]
        out_times[i] = times[event]
        for triple in range(ends[event - 1] if event > 0 else 0, ends[event]):
            out_events[at] = i
            out_keys[at] = keys[triple]
            out_kinds[at] = kinds[triple]
            out_raws[at] = raws[triple]
            at += 1
    return out_rows, out_times, out_events, out_keys, out_kinds, out_raws


@kernel
def split_by_name(
    names: U16, rows: U32, times: I64, ends: I64, keys: U16, kinds: U8, raws: I64, starts: I64, triple_starts: I64
) -> tuple[U32, I64, U32, U16, U8, I64]:
    """Rows, times and triples as from `take_events`, for the events of each name, one name after the other.

    starts, triple_starts i64[names + 1], zero before, get the start of each name's events and triples. One pass for any
    number of names: 28 bytes an event and 26 a triple.
    """
    count = rows.shape[0]
    for i in range(count):
        starts[names[i] + 1] += 1
        triple_starts[names[i] + 1] += ends[i] - (ends[i - 1] if i > 0 else 0)
    for name in range(starts.shape[0] - 1):
        starts[name + 1] += starts[name]
        triple_starts[name + 1] += triple_starts[name]
    out_rows = np.empty(count, np.uint32)
    out_times = np.empty(count, np.int64)
    triples = triple_starts[-1]
    out_events = np.empty(triples, np.uint32)
    out_keys = np.empty(triples, np.uint16)
    out_kinds = np.empty(triples, np.uint8)
    out_raws = np.empty(triples, np.int64)
    # Copies are used up; the caller needs where each name begins.
    places, triple_places = starts.copy(), triple_starts.copy()
    for i in range(count):
        name = names[i]
        place = places[name]
        places[name] += 1
        out_rows[place] = rows[i]
        out_times[place] = times[i]
        at = triple_places[name]
        for triple in range(ends[i - 1] if i > 0 else 0, ends[i]):
            # From the name's own first event on, since each name is laid out by itself.
            out_events[at] = place - starts[name]
            out_keys[at] = keys[triple]
            out_kinds[at] = kinds[triple]
            out_raws[at] = raws[triple]
            at += 1
        triple_places[name] = at
    return out_rows, out_times, out_events, out_keys, out_kinds, out_raws


@kernel
def sort_name(
    names: U16,
    rows: U32,
    times: I64,
    ends: I64,
    keys: U16,
    kinds: U8,
    key_count: int,
    name: int,
    first: int,
    morsel_bits: int,
    bucket_ms: int,
) -> tuple[I64, int, U32, U16, U32, I64, U32, I64, int, int]:
    """The events of a name in a delta from position `first` on, in order of (row, time), stable in arrival.

    (groups of their triples, key << 3 | kind, i64[g] ascending; number of triples; event of each place u32[n];
    run_rows, run_starts and run_offsets of a chunk; times since the bucket of the earliest u32[n] or, where these do
    not fit, i64[n]; first and last time). Keys are below `key_count`. One call for all of it: tails are short, and a
    call costs as much as a hundred events. Reads 2 bytes an event, and of those with the name 40 and 3 a triple.
    """
    chosen, own_rows = np.empty(names.shape[0] - first, np.int64), np.empty(names.shape[0] - first, np.uint32)
    given = np.zeros(key_count << 3, np.bool_)
    count, triples, highest = 0, 0, 0
    for event in range(first, names.shape[0]):
        if names[event] == name:
            chosen[count], own_rows[count] = event, rows[event]
            highest = max(highest, int(rows[event]))
            count += 1
            start = ends[event - 1] if event > 0 else 0
            triples += ends[event] - start
            for triple in range(start, ends[event]):
                given[np.int64(keys[triple]) << 3 | kinds[triple]] = True
    own_times, low, high = np.empty(count, np.int64), 0, 0
    for i in range(count):
        at = int(times[chosen[i]])
        own_times[i] = at
        low, high = min(low, at) if i else at, max(high, at) if i else at
    order = _order_of_few(own_rows[:count], highest)
    stable_order_by_row_time(own_rows, own_times, order)
    base = low // bucket_ms * bucket_ms
    is_wide = high - base > 0xFFFFFFFF
    events, ordered = np.empty(count, np.uint32), np.empty(count, np.uint32)
    narrow, wide = np.empty(0 if is_wide else count, np.uint32), np.empty(count if is_wide else 0, np.int64)
    for i in range(count):
        events[i], ordered[i] = chosen[order[i]], own_rows[order[i]]
        if is_wide:
            wide[i] = own_times[order[i]] - base
        else:
            narrow[i] = own_times[order[i]] - base
    run_rows, run_starts = np.empty(count, np.uint16), np.empty(count + 1, np.uint32)
    run_offsets = np.zeros((highest >> morsel_bits) + 2, np.int64)
    runs = find_runs(ordered, morsel_bits, run_rows, run_starts, run_offsets) if count else 0
    # Copied: these are held for long, and room for a run of each event is often much more than the runs.
    own = run_rows[:runs].copy(), run_starts[: runs + 1].copy(), run_offsets
    return np.flatnonzero(given), triples, events, own[0], own[1], own[2], narrow, wide, low, high


@kernel
def _order_of_few(rows: U32, highest: int) -> I64:
    """Positions that sort rows, none above `highest`, stable; digits of 9 bits suit dozens as well as thousands."""
    order: I64 = np.arange(rows.shape[0], dtype=np.int64)
    shift = 0
    while highest >> shift and rows.shape[0] > 1:
        passed = np.empty_like(order)
        stable_order_by_digit(rows, shift, 9, order, passed)
        order = passed
        shift += 9
    return order


@kernel
def addresses_of(run_rows: U16, run_starts: U32, run_offsets: I64, times: AnyArray) -> tuple[int, int, int, int]:
    """Addresses of the arrays of a chunk; NumPy takes several times as long for each."""
    return run_rows.ctypes.data, run_starts.ctypes.data, run_offsets.ctypes.data, times.ctypes.data


@kernel
def fill_column(
    events: U32, ends: I64, keys: U16, kinds: U8, raws: I64, key: int, kind: int, out: I64, present: Bools
) -> int:
    """Raw values of one key and kind of some events of a delta, and their number; 8 bytes an event, 11 a triple read.

    out i64[n] and present bool[n], zero before, get those that are given.
    """
    given = 0
    for i in range(events.shape[0]):
        event = np.int64(events[i])
        for triple in range(ends[event - 1] if event > 0 else 0, ends[event]):
            if keys[triple] == key and kinds[triple] == kind:
                out[i] = raws[triple]
                given += not present[i]
                present[i] = True
    return given


@kernel
def count_groups(keys: U16, kinds: U8, counts: I64) -> None:
    """counts[key << 3 | kind] += 1 for each triple; 3 bytes a triple."""
    for i in range(keys.shape[0]):
        counts[np.int64(keys[i]) << 3 | kinds[i]] += 1


@kernel
def invert(order: I64, places: I64) -> None:
    """places[order[i]] = i: where each event stands in an order; 16 bytes an event."""
    for i in range(order.shape[0]):
        places[order[i]] = i


@kernel
def lay_out(
    places: I64, events: U32, keys: U16, kinds: U8, raws: I64, slots: I32, out: AnyArray, present: AnyArray
) -> None:
    """out[slot, places[event]] = raw of each triple whose group has a slot (others: -1), and present there.

    out i64[slots, n], present bool[slots, n], both zero before; 15 bytes read and 9 written a triple.
    """
    for i in range(events.shape[0]):
        slot = slots[np.int64(keys[i]) << 3 | kinds[i]]
        # Groups without a slot have their turn in another call: all columns at once could take many times the events'
        # size.
        if slot >= 0:
            place = places[events[i]]
            out[slot, place] = raws[i]
            present[slot, place] = True


@kernel
def find_runs(rows: U32, morsel_bits: int, run_rows: U16, run_starts: U32, run_offsets: I64) -> int:
    """Number of runs of equal rows in rows u32[n], ascending; n > 0.

    run_rows u16[n] and run_starts u32[n + 1] get each run's row inside its morsel and its start, and the end;
    run_offsets i64[morsels + 1] where the runs of each morsel begin, and the end. Reads 4 bytes an event, writes 6
    a run.
    """
    runs, morsel = 0, -1
    for i in range(rows.shape[0]):
        if i and rows[i] == rows[i - 1]:
            continue
        # Morsels without events are passed here too: their runs begin and end at once.
        while morsel < rows[i] >> np.uint32(morsel_bits):
            morsel += 1
            run_offsets[morsel] = runs
        # A row inside its morsel has 16 bits, half of what the partition's number would take.
        run_rows[runs] = rows[i] & np.uint32((1 << morsel_bits) - 1)
        run_starts[runs] = i
        runs += 1
    run_starts[runs] = rows.shape[0]
    run_offsets[morsel + 1] = runs
    return runs


@kernel
def decimal_scale(values: F64, present: Bools, scale_max: int, mantissa_max: float, out: I64) -> tuple[int, Int, Int]:
    """(least scale <= scale_max at which all present values are decimals, or -1; least and largest mantissa).

    present bool[n], or empty: all are. out i64[n] gets the mantissas, 0 where nothing is present. A negative zero is no
    decimal. Touches 16 bytes a value and scale tried.
    """
    factor = 1.0
    for scale in range(scale_max + 1):
        low, high = np.int64(0), np.int64(0)
        first, fits = True, True
        for i in range(values.shape[0]):
            if present.shape[0] and not present[i]:
                out[i] = 0
                continue
            value = values[i]
            scaled = value * factor
            mantissa = np.rint(scaled)
            # `not <`, which refuses NaN too. No larger scale is tried: it would only make the mantissa larger.
            if not abs(scaled) < mantissa_max or (value == 0.0 and np.signbit(value)):
                return -1, 0, 0
            # A quotient of two doubles is rounded correctly, so that it gives the very number that was written as a
            # decimal.
            if mantissa / factor != value:
                fits = False
                break
            number = np.int64(mantissa)
            out[i] = number
            if first or number < low:
                low = number
            if first or number > high:
                high = number
            first = False
        if fits:
            return scale, low, high
        factor *= 10.0
    return -1, 0, 0


@kernel
def count_by_bucket(times: I64, bucket_ms: int, low: int, counts: I64) -> None:
    """counts[bucket - low] += 1 for each time; 8 bytes an event."""
    for i in range(times.shape[0]):
        # Rounded down, as in Python: buckets before 1970 have negative numbers and the same length.
        counts[times[i] // bucket_ms - low] += 1


@kernel
def order_by_span(times: I64, bucket_ms: int, low: int, spans: I64, starts: I64, order: I64) -> None:
    """order: events by the span of their bucket, stable; starts[span] is where each span begins, and is used up."""
    for i in range(times.shape[0]):
        span = spans[times[i] // bucket_ms - low]
        order[starts[span]] = i
        starts[span] += 1
