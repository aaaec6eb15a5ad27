"""Blocks of cells: decides which numbers of users may be reported without revealing any below k.

The users of an answer fall into cells that do not overlap, and each reported number is that of some of the cells.
Cells are merged into blocks until every block holds k users or none, and a number is reported only if it is that of
whole blocks. Whatever is added or subtracted then gives numbers of whole blocks again, and the spread of a block's
users over its cells is never reported. That is complementary suppression, as statistical offices use it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence


def is_apart(larger: int, smaller: int, smallest: int) -> bool:
    """True if the users in the larger group alone are none, or no small number."""
    return larger == smaller or larger - smaller >= smallest


def merged(counts: Sequence[int], smallest: int) -> frozenset[int]:
    """The cells of the one block of a flat table; empty if every cell may be reported.

    They are those with few users, and of the others the smallest, until the block holds k users and not all of its
    cells have as many. Cells of one size join together: so the block is the same however its users are spread, and
    even with this rule nobody can distinguish its cells.
    """
    block = frozenset(place for place, count in enumerate(counts) if 0 < count < smallest)
    for size in sorted({count for count in counts if count >= smallest}) if block else ():
        sizes = [counts[place] for place in block]
        if sum(sizes) >= smallest and len(set(sizes)) > 1:
            break
        block |= {place for place, count in enumerate(counts) if count == size}
    return block


def is_whole(cells: Collection[int], block: frozenset[int]) -> bool:
    """True if the number of some cells may be reported: they include the whole block, or nothing of it."""
    inside = block.intersection(cells)
    return not inside or inside == block


def chain(numbers: Sequence[int], smallest: int) -> list[bool]:
    """Mask of the numbers that may be reported of nested groups, each inside the previous one.

    A number is withheld if it is small, or if its difference from the last reported one is.
    """
    told, before = list[bool](), -1
    for number in numbers:
        is_told = number >= smallest and (before < 0 or is_apart(before, number, smallest))
        told.append(is_told)
        before = number if is_told else before
    return told
