"""The OpenAPI document of the gateway, generated from the descriptors of the contract."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import metadata
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor

from cdp_router.gateway.query_side import ARROW, MEMBERS, NDJSON, STATUSES, UNARY, Served

_INTEGERS: Final = {FieldDescriptor.CPPTYPE_INT32: -(1 << 31), FieldDescriptor.CPPTYPE_UINT32: 0}
_LONGS: Final = (FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64)
_NUMBERS: Final = (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT)
_TIMESTAMP: Final = "google.protobuf.Timestamp"
_SEGMENT_CALL: Final = {
    "type": "object",
    "properties": {
        "type": {"enum": ["identify", "track", "page", "screen", "group", "alias"]},
        "userId": {"type": ["string", "null"]},
        "anonymousId": {"type": ["string", "null"]},
        "event": {"type": "string"},
        "messageId": {"type": "string"},
        "timestamp": {"type": "string", "format": "date-time"},
        "properties": {"type": "object"},
        "traits": {"type": "object"},
    },
}
_ERROR: Final = {
    "type": "object",
    "required": ["code", "message"],
    "properties": {name: {"type": "string"} for name in ("code", "message", "error", "detail")},
}


def document() -> dict[str, Any]:
    """The whole document."""
    schemas = dict[str, Any]({"Error": _ERROR, "SegmentCall": _SEGMENT_CALL})
    for served in (*UNARY, MEMBERS):
        for message in (served.request, served.response):
            _add(message.DESCRIPTOR, schemas)
    paths: dict[str, Any] = {served.path: {"post": _operation(served, _answer(served))} for served in UNARY}
    paths[MEMBERS.path] = {"post": _operation(MEMBERS, {NDJSON: {"schema": {}}, ARROW: {"schema": {}}})}
    paths["/v1/batch"] = {"post": _batch()}
    return {
        "openapi": "3.1.0",
        "info": {"title": "cdp gateway", "version": metadata.version("cdp")},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"key": []}],
    }


def _operation(served: Served, content: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "summary": served.summary,
        "operationId": served.path.rpartition("/")[2].replace(":", "_"),
        "requestBody": _json_body(_reference(served.request.DESCRIPTOR)),
        "responses": {"200": {"description": "The answer.", "content": content}, **_errors(STATUSES)},
    }


def _answer(served: Served) -> dict[str, Any]:
    return {"application/json": {"schema": _reference(served.response.DESCRIPTOR)}}


def _batch() -> dict[str, Any]:
    items = {"type": "array", "items": {"$ref": "#/components/schemas/SegmentCall"}}
    schema = {"type": "object", "required": ["batch"], "properties": {"batch": items, "writeKey": {"type": "string"}}}
    accepted = {"type": "object", "required": ["success"], "properties": {"success": {"const": True}}}
    return {
        "summary": "Accepts calls of the Segment API; a rejected one costs no other.",
        "operationId": "batch",
        "requestBody": _json_body(schema),
        "responses": {
            "200": {"description": "All of it is durable.", "content": {"application/json": {"schema": accepted}}},
            **_errors((400, 401, 403, 413, 500, 503)),
        },
    }


def _json_body(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _errors(statuses: Iterable[int]) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {str(status): {"description": "The request was not answered.", "content": content} for status in statuses}


def _reference(message: Any) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{message.name}"}


def _add(message: Any, schemas: dict[str, Any]) -> None:
    """Describes a message and all that it holds."""
    if message.full_name == _TIMESTAMP or message.name in schemas:
        return
    properties = dict[str, Any]()
    schemas[message.name] = {"type": "object", "properties": properties, "additionalProperties": False}
    for field in message.fields:
        properties[field.json_name] = _field(field, schemas)


def _field(field: FieldDescriptor, schemas: dict[str, Any]) -> dict[str, Any]:
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        value = kind.fields_by_name["value"]
        return {"type": "object", "additionalProperties": _one(value, schemas)}
    one = _one(field, schemas)
    return {"type": "array", "items": one} if field.is_repeated else one


def _one(field: FieldDescriptor, schemas: dict[str, Any]) -> dict[str, Any]:
    if field.message_type is not None:
        if field.message_type.full_name == _TIMESTAMP:
            # The instant may be a date as well: its first instant in the zone of the question.
            forms = ("date-time", "date") if field.name == "as_of" else ("date-time",)
            found = [{"type": "string", "format": form} for form in forms]
            return found[0] if len(found) == 1 else {"anyOf": found}
        _add(field.message_type, schemas)
        return _reference(field.message_type)
    if field.enum_type is not None:
        return {"type": "string", "enum": [value.name for value in field.enum_type.values]}
    if field.cpp_type in _INTEGERS:
        low = _INTEGERS[field.cpp_type]
        return {"type": "integer", "minimum": low, "maximum": low + (1 << 32) - 1}
    if field.cpp_type in _LONGS:
        # The JSON form of the contract: a number in JavaScript would lose digits.
        return {"type": "string", "format": "int64", "pattern": r"^-?\d{1,18}$"}
    if field.cpp_type in _NUMBERS:
        return {"type": "number"}
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return {"type": "boolean"}
    return {"type": "string", "format": "byte"} if field.type == FieldDescriptor.TYPE_BYTES else {"type": "string"}
