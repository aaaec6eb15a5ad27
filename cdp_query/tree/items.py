"""The same-element rule: one item of a list of objects must satisfy several conditions at once."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cdp_query.tree.segments import Node

__all__ = ["ItemsOp", "ItemsTest"]


class ItemsOp(enum.Enum):
    """Quantifier over the items of a list: any, all or none of them must satisfy the filter."""

    ANY = "any"
    ALL = "all"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class ItemsTest:
    """Any, all or none of a list's items pass the filter, whose property tests are about fields of the item."""

    op: ItemsOp
    where: Node
