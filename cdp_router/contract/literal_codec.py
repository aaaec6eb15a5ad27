"""Literals on the wire."""

from __future__ import annotations

import math
from typing import Any, Final

from cdp.v1 import segment_pb2 as pb

from cdp_query import tree
from cdp_router.contract.oneofs import Codec
from cdp_router.errors import RequestInvalid


def to_literal(value: tree.Literal) -> pb.Literal:
    """Message of a literal."""
    match value:
        case bool():
            return pb.Literal(boolean=value)
        case int():
            return pb.Literal(integer=value)
        case float():
            return pb.Literal(number=value)
        case tree.Moment(iso):
            return pb.Literal(moment=iso)
    return pb.Literal(text=value)


def from_literal(message: pb.Literal, path: str, _depth: int = 0) -> tree.Literal:
    """Literal of a message."""
    match message.WhichOneof("value"):
        case "boolean":
            return message.boolean
        case "integer":
            return message.integer
        case "number" if math.isfinite(message.number):
            return message.number
        case "text":
            return message.text
        case "moment":
            return tree.Moment(message.moment)
    raise RequestInvalid(path, "must hold a finite value")


def from_number(message: pb.Literal, path: str, _depth: int = 0) -> int | float:
    """Integer or number of a message."""
    value = from_literal(message, path)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RequestInvalid(path, "must be an integer or a number")
    return value


_NUMBERS: Final = Codec(to_literal, from_number)
_LITERALS: Final = Codec(to_literal, from_literal)


def literals(_codecs: object, kind: Any) -> Codec:
    """The codec of a literal, or of a number if the annotation requires it."""
    return _NUMBERS if kind == int | float else _LITERALS
