"""Times of a morsel: what is compared in its narrow form against the times themselves."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cdp_store.columns.column import narrow
from cdp_store.profiles.change_times import ChangeTimes
from cdp_store.profiles.profile_times import MorselTimes
from cdp_store.values import Kind

_BASES = (0, -5, 1 << 40, -(1 << 45))
_TIMES = st.builds(lambda base, offset: base + offset, st.sampled_from(_BASES), st.integers(-3, 300))


@st.composite
def morsels(draw: st.DrawFn) -> MorselTimes:
    """A few rows, the last of them without a first time, some of the others too, some created at another time."""
    times = np.array(draw(st.lists(_TIMES, min_size=1, max_size=9)), np.int64)
    present = np.array(draw(st.lists(st.booleans(), min_size=times.shape[0], max_size=times.shape[0])))
    column = narrow(Kind.TIME, times, None if present.all() else present) if present.any() else None
    rows = times.shape[0] + draw(st.integers(0, 2))
    differing = ChangeTimes()
    chosen = draw(st.lists(st.integers(0, rows - 1), unique=True, max_size=3).map(sorted))
    given_ms = np.array([draw(_TIMES) for _ in chosen], np.int64)
    differing.put(np.array(chosen, np.uint16), given_ms)
    whole = MorselTimes(rows, column, differing.reading(rows), 0)
    return MorselTimes(rows, column, whole.created, int(whole.created_ms().max()))


@given(morsels(), _TIMES)
def test_comparing_narrow_times_is_comparing_times(morsel: MorselTimes, instant_ms: int) -> None:
    assert morsel.set_after(instant_ms).tolist() == (morsel.first_set_ms() > instant_ms).tolist()
    assert morsel.created_by(instant_ms).tolist() == (morsel.created_ms() <= instant_ms).tolist()
