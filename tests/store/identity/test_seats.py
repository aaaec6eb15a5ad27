"""Seats of identifiers: held against a plain reading, whatever is asked for, given, left and forgotten."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_store.errors import StructureBroken
from cdp_store.identity.identity_changes import Links, Seating, decode_identity_change, encode_identity_change
from cdp_store.identity.identity_tables import to_tables
from cdp_store.identity.rerouted_links import rerouted
from cdp_store.identity.seats import OTHERS, Seats
from cdp_store.identity.state import IdentityState
from cdp_store.ids import decode_identifier, encode_identifier
from tests.shards import KEY

UPPERS = [encode_identifier("user_id", name) for name in ("ann", "bob")]
LOWERS = [
    *(encode_identifier("anonymous_id", f"d{n}") for n in range(4)),
    *(encode_identifier("email", f"{n}@x") for n in range(3)),
    *(encode_identifier("crm", f"a:{n}") for n in range(3)),
    *(encode_identifier("crm_old", f"{n}") for n in range(2)),
]
LIMITS = {"anonymous_id": 3, "crm": 1, OTHERS: 2}
Pair = tuple[bytes, bytes]
PAIRS = st.tuples(st.sampled_from(LOWERS), st.sampled_from(UPPERS))


def links(pairs: list[Pair], *, apart: bool = False) -> Links:
    return Links.of([(lower, upper, 0, b"") for lower, upper in pairs], apart=apart)


class PlainSeats:
    """The same, as a set of pairs."""

    def __init__(self) -> None:
        self.seated, self.apart = set[Pair](), set[Pair]()

    def granted(self, pairs: list[Pair]) -> list[bool]:
        counts, given = defaultdict[tuple[bytes, str], int](int), set(self.seated)
        for lower, upper in self.seated:
            counts[upper, decode_identifier(lower)[0]] += 1
        answers = []
        for lower, upper in pairs:
            kind = decode_identifier(lower)[0]
            is_granted = (lower, upper) in given | self.apart
            if not is_granted and counts[upper, kind] < LIMITS.get(kind, LIMITS[OTHERS]):
                given.add((lower, upper))
                counts[upper, kind] += 1
                is_granted = True
            answers.append(is_granted)
        return answers


@given(st.lists(st.tuples(st.integers(0, 5), st.lists(PAIRS, max_size=8)), max_size=12))
@settings(max_examples=50, deadline=None)
def test_seats_are_those_of_a_plain_reading(steps: list[tuple[int, list[Pair]]]) -> None:
    seats, plain = Seats(KEY), PlainSeats()
    for what, pairs in steps:
        match what:
            case 0:
                change = seats.news(seats.seating_of(links(pairs, apart=True)))
                seats.apply(_logged(change))
                plain.seated -= set(pairs)
                plain.apart |= set(pairs)
            case 1:
                gone = {each for pair in pairs[:1] for each in pair}
                seats = seats.without(gone)
                plain.seated, plain.apart = (
                    {pair for pair in held if not gone & {*pair}} for held in (plain.seated, plain.apart)
                )
            case 2:
                seats = Seats.from_table(KEY, seats.to_table())
            case _:
                half = len(pairs) // 2
                seatings = [seats.seating_of(links(part)) for part in (pairs[:half], pairs[half:])]
                first = seats.granted(seatings[0], LIMITS)
                about_to = seats.news(seatings[0].take(np.flatnonzero(first)))
                second = seats.granted(seatings[1], LIMITS, [about_to])
                expected = plain.granted(pairs)
                assert [*first.tolist(), *second.tolist()] == expected
                for change in (about_to, seats.news(seatings[1].take(np.flatnonzero(second)))):
                    seats.apply(_logged(change))
                plain.seated |= {pair for pair, given in zip(pairs, expected, strict=True) if given} - plain.apart
        seats.validate()
        assert len(seats) == len(plain.seated | plain.apart)
        for each in (*UPPERS, *LOWERS):
            assert seats.names(each) == any(each in pair for pair in plain.seated | plain.apart)


def _logged(change: Seating) -> Seating:
    decoded = decode_identity_change(encode_identity_change(change))
    assert isinstance(decoded, Seating)
    return decoded


def test_a_seat_given_twice_counts_once_and_a_wrong_tally_is_found() -> None:
    seats = Seats(KEY)
    seating = seats.seating_of(links([(LOWERS[0], UPPERS[0]), (LOWERS[0], UPPERS[0])]))
    seats.apply(seating)
    seats.apply(seating)
    seats.validate()
    seats._tallies.filled()[0] = 2
    with pytest.raises(StructureBroken, match="tally"):
        seats.validate()


def test_seats_come_along_into_another_number_of_partitions() -> None:
    states = [IdentityState(KEY), IdentityState(KEY)]
    pairs = [(lower, UPPERS[0]) for lower in LOWERS[:3]]
    states[0].claims.add(links(pairs))
    states[1].claims.add(links(pairs[:1], apart=True))
    states[0].claims.add(links(pairs[:1], apart=True))
    made = rerouted([to_tables(state) for state in states], KEY, lambda identifier: UPPERS.count(identifier))
    assert set(made) == {0, 1}
    seats = Seats.from_table(KEY, made[1]["seats"])
    seats.validate()
    assert not len(Seats.from_table(KEY, made[0]["seats"]))
    wanted = seats.seating_of(links([(lower, UPPERS[0]) for lower in LOWERS[:4]]))
    assert seats.granted(wanted, {OTHERS: 2}).tolist() == [True, True, True, False], "the first needs none"
