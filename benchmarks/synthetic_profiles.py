"""Seeded profiles: attributes, their later changes, and how active each user is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.scales import (
    AS_OF_MS,
    CHANNELS,
    COUNTRIES,
    DAY_MS,
    DEVICES,
    PLANS,
    START_MS,
    TAGS,
    Scale,
)

Array = np.ndarray[Any, np.dtype[Any]]

BLOCK: Final = 131_072  # profiles made by one random stream: the data do not depend on who asks for which block
UTC_MS: Final = pa.timestamp("ms", tz="UTC")

_ATTRIBUTES_STREAM, _SET_AT_STREAM, _WEIGHT_STREAM, _CHANGE_STREAM = 1, 2, 3, 4
_ID_SPACE, _ID_STEP = 1_000_000_000, 736_338_717  # coprime, so distinct users get distinct scattered ids
_TWO_YEARS_MS = 730 * DAY_MS
_ACTIVITY_EXPONENT, _ACTIVITY_MAX, _SILENT_SHARE = 1.4, 500.0, 0.05
_CHANGE_SHARE = 0.10
_DOMAINS = tuple(f"{name}.example" for name in ("mail", "post", "inbox", "letters", "courier", "corp", "uni", "home"))
_EMAIL_ALPHABET = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz0123456789", np.uint8)


def blocks(scale: Scale) -> Iterator[tuple[int, int, int]]:
    """(block number, first user, one past the last user) over all profiles of a scale."""
    for number, start in enumerate(range(0, scale.profile_count, BLOCK)):
        yield number, start, min(start + BLOCK, scale.profile_count)


def user_ids(users: Array) -> pa.StringArray:
    """External ids of dense user numbers."""
    scattered = pa.array((users.astype(np.int64) * _ID_STEP + 12_345) % _ID_SPACE)
    return pc.binary_join_element_wise("u", pc.utf8_lpad(scattered.cast(pa.string()), 9, "0"), "")


def set_at_ms(scale: Scale, seed: int) -> Array:
    """When each profile was set, ascending: i64[profiles]; a twentieth in the last 61 days, most before the history."""
    knots = (START_MS - _TWO_YEARS_MS, START_MS, AS_OF_MS - 61 * DAY_MS, AS_OF_MS)
    jitter = np.concatenate(
        [np.random.default_rng([seed, _SET_AT_STREAM, n]).random(stop - start) for n, start, stop in blocks(scale)]
    )
    ranks = (np.arange(scale.profile_count) + jitter) / scale.profile_count
    times: Array = np.interp(ranks, (0.0, 0.70, 0.95, 1.0), knots).astype(np.int64)
    return times


def cumulative_activity(scale: Scale, seed: int) -> Array:
    """Running sum of the users' power-law weights, f64[profiles]; some weights are zero."""
    weights = np.empty(scale.profile_count)
    for number, start, stop in blocks(scale):
        rng = np.random.default_rng([seed, _WEIGHT_STREAM, number])
        drawn = np.minimum((1.0 - rng.random(stop - start)) ** (-1.0 / _ACTIVITY_EXPONENT), _ACTIVITY_MAX)
        weights[start:stop] = np.where(rng.random(stop - start) < _SILENT_SHARE, 0.0, drawn)
    return np.cumsum(weights)


def profile_block(seed: int, number: int, start: int, set_at: Array) -> pa.Table:
    """The profiles of one block as a table."""
    rng = np.random.default_rng([seed, _ATTRIBUTES_STREAM, number])
    count = len(set_at)
    return pa.table(
        {
            "user_id": user_ids(np.arange(start, start + count)),
            "set_at": pa.array(set_at, UTC_MS),
            "plan": _codes(rng, PLANS, count, skew=1.3, missing=0.03),
            "country": _codes(rng, COUNTRIES, count, skew=1.0, missing=0.02),
            "channel": _codes(rng, CHANNELS, count, skew=0.8, missing=0.05),
            "device": _codes(rng, DEVICES, count, skew=1.2, missing=0.04),
            "age": _ages(rng, count),
            "loyalty_points": pa.array(rng.exponential(2_500.0, count).astype(np.int32)),
            "ltv": pa.array(np.round(rng.lognormal(5.0, 1.2, count), 2), mask=rng.random(count) < 0.30),
            "score": pa.array(rng.random(count), mask=rng.random(count) < 0.01),
            "signup_time": pa.array(set_at - rng.integers(0, 30 * DAY_MS, count), UTC_MS),
            "last_login": _last_logins(rng, set_at),
            "tags": _tags(rng, count),
            "email": _emails(rng, count),
        }
    )


def change_block(seed: int, number: int, start: int, set_at: Array) -> pa.Table:
    """Later plan and country of about a tenth of one block's profiles."""
    rng = np.random.default_rng([seed, _CHANGE_STREAM, number])
    chosen = np.flatnonzero(rng.random(len(set_at)) < _CHANGE_SHARE)
    earliest = set_at[chosen] + 1
    times = earliest + (rng.random(len(chosen)) * (AS_OF_MS - earliest)).astype(np.int64)
    return pa.table(
        {
            "user_id": user_ids(start + chosen),
            "time": pa.array(times, UTC_MS),
            "plan": _codes(rng, PLANS, len(chosen), skew=0.7, missing=0.0),
            "country": _codes(rng, COUNTRIES, len(chosen), skew=1.0, missing=0.0),
        }
    )


def zipf_cumulative(count: int, exponent: float) -> Array:
    """Cumulative shares of `count` ranks whose shares fall as rank ** -exponent, f64[count] ending at 1."""
    shares = np.arange(1, count + 1) ** -exponent
    cumulative: Array = np.cumsum(shares) / shares.sum()
    return cumulative


def zipf_codes(rng: np.random.Generator, values: int, count: int, exponent: float) -> Array:
    """Random ranks below `values`, i8[count]."""
    drawn = np.searchsorted(zipf_cumulative(values, exponent), rng.random(count), side="right")
    codes: Array = np.minimum(drawn, values - 1).astype(np.int8)
    return codes


def _codes(rng: np.random.Generator, values: tuple[str, ...], count: int, skew: float, missing: float) -> pa.Array:
    codes = pa.array(zipf_codes(rng, len(values), count, skew), mask=rng.random(count) < missing)
    return pa.DictionaryArray.from_arrays(codes, pa.array(values))


def _ages(rng: np.random.Generator, count: int) -> pa.Array:
    return pa.array(np.clip(rng.normal(36.0, 12.0, count), 13, 95).astype(np.int16), mask=rng.random(count) < 0.05)


def _last_logins(rng: np.random.Generator, set_at: Array) -> pa.Array:
    before = (rng.random(len(set_at)) * 30 * DAY_MS).astype(np.int64)
    return pa.array(set_at - before, UTC_MS, mask=rng.random(len(set_at)) < 0.10)


def _tags(rng: np.random.Generator, count: int) -> pa.Array:
    """Lists of up to five distinct tags: a run of neighbours from a skewed start, so that no draw repeats."""
    sizes = np.minimum(rng.geometric(0.4, count) - 1, 5)
    offsets = np.concatenate(([0], np.cumsum(sizes))).astype(np.int32)
    within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], sizes)
    first = zipf_codes(rng, len(TAGS), count, 0.9).astype(np.int64)
    values = pa.array(TAGS).take(pa.array((np.repeat(first, sizes) + within * 7) % len(TAGS)))
    return pa.ListArray.from_arrays(pa.array(offsets), values, mask=pa.array(rng.random(count) < 0.10))


def _emails(rng: np.random.Generator, count: int) -> pa.Array:
    letters = np.ascontiguousarray(_EMAIL_ALPHABET[rng.integers(0, len(_EMAIL_ALPHABET), (count, 10))])
    local = pa.array(letters.view("S10").reshape(count)).cast(pa.string())
    domain = pa.array(_DOMAINS).take(pa.array(rng.integers(0, len(_DOMAINS), count)))
    whole = pc.binary_join_element_wise(local, domain, "@")
    return pc.if_else(pa.array(rng.random(count) < 0.05), pa.scalar(None, pa.string()), whole)
