"""Error codes with their status, from the classes and the code that raises them."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from google.rpc import code_pb2, error_details_pb2

from cdp_query import errors as query
from cdp_router import errors as router
from cdp_router.contract.status import describe
from cdp_router.gateway.query_side import _STATUSES
from cdp_store import errors as store
from cdp_store.limits import ATTRIBUTE_NAMES_MAX, EVENT_NAMES_MAX, PROPERTY_NAMES_MAX
from cdp_store.memory.schema import Schema
from docs.pages.page import ROOT, Page

_CODE: Final = re.compile(r"[A-Z]+(?:_[A-Z]+)+")
_HTTP_CODE: Final = re.compile(r"[a-z]+(?:_[a-z]+)*")
# Codes of single records, in `BatchResult.errors`, in dead letters, and in what `cdp import` prints.
RECORD_CODES: Final = {
    "BODY_MISSING": "The record has neither an event nor attributes nor an alias.",
    "DIALECT_UNKNOWN": "A dead letter names a dialect that this version does not know.",
    "EVENT_NAME_INVALID": "The event has no name, or the name is empty, too long or not text.",
    "IDENTIFIER_BLOCKED": "All identifiers of the record are values that identify nobody, such as `null` or `0`.",
    "IDENTIFIER_INVALID": "An identifier is not text, is too long, or has a kind that is not allowed.",
    "IDENTIFIER_MISSING": "The record has no identifier.",
    "IDENTIFIER_SUPPRESSED": "The person was erased with `--suppress`.",
    "INTEGER_OUT_OF_RANGE": "An integer does not fit 64 bits.",
    "LINK_REFUSED": "PostHog only: a link would join two user ids. The link is kept as a dead letter.",
    "LIST_TOO_LONG": "A list has too many items.",
    "MESSAGE_ID_INVALID": "The message id is empty, too long or not text.",
    "NESTING_TOO_DEEP": "A value is nested too deeply.",
    "NUMBER_INEXACT": "A decimal cannot be stored exactly as a float64.",
    "NUMBER_NOT_FINITE": "A number is NaN or infinite.",
    "OPERATION_INVALID": "An operation on an attribute lacks its number or list, or the attribute is set as well.",
    "OPERATION_ON_LINKED_IDENTIFIER": "The identifier belongs to another profile, and the record has no message id.",
    "OPERATION_UNKNOWN": "CleverTap only: an operation that is not supported.",
    "PROPERTIES_INVALID": "The properties are not a map.",
    "PROPERTY_NAME_INVALID": "A property name is empty, too long, not text, or repeated.",
    "QUARANTINE_FULL": "A rule sends the record into quarantine, and the partition's quarantine is full.",
    "RECORD_MALFORMED": "The record cannot be decoded.",
    "RECORD_TOO_LARGE": "The record is larger than one record may be.",
    "SCHEMA_VIOLATION": "The record breaks a schema rule with the mode REJECT.",
    "STRING_INVALID": "A text is not valid UTF-8.",
    "STRING_TOO_LONG": "A text is longer than one text may be.",
    "TEXT_INVALID": "`cdp import` only: bytes that are not text in the file's encoding.",
    "TIME_INVALID": "The time is missing, ambiguous, or not between the years 1 and 9999.",
    "TIME_IN_FUTURE": "The time is more than 24 hours ahead of the server's clock.",
    "TOO_MANY_NAMES": "The batch mentions too many different names.",
    "TOO_MANY_PROPERTIES": "The record has too many properties.",
    "TYPE_UNKNOWN": "The type of a call is not one of the dialect's.",
    "VALUE_TYPE_UNKNOWN": "A value has a type that cannot be stored.",
    "VALUE_UNUSABLE": "A value of a file cannot be read as what it is mapped to.",
}
# Codes of records that are accepted with a warning to the sender.
_WARNING_CODES: Final = {
    "IDENTIFIER_LIMIT": "The record is accepted; its identifiers are not linked, as too many belong to one already.",
    "SCHEMA_QUARANTINED": "The record broke a schema rule and is in quarantine.",
    "SCHEMA_VIOLATION": "The record is accepted; it broke a schema rule with the mode WARN.",
}
_ANSWER_FLAGS: Final = {
    "INCOMPLETE": "The report has periods or attempts that are not over at the instant asked about; tables mark the "
    "periods with `*`.",
    "PARTIAL": "Some partitions did not answer, and the caller allowed that (`--allow-partial`).",
    "TRUNCATED_BY_RETENTION": "Events in the asked window were dropped by a retention rule.",
    "TYPE_MISMATCH": "Some values had another type than the one they were compared with.",
    "UNKNOWN_NAME": "A name in the question is unknown to every partition.",
    "WITHHELD": "Numbers of users below `withheld_below` are left out.",
}
_CLIENT_CODES: Final = {"COUNT_WITHHELD": "Python client only: `Client.count` got an answer whose count is withheld."}
_REFUSALS: Final = {
    "CLUSTER_SECRET_MISSING": "The call to a shard lacks the cluster's secret: shards answer their routers only.",
    "KEY_EXPIRED": "The key has expired.",
    "KEY_MALFORMED": "The header is not `authorization: Bearer KEY` with one API key.",
    "KEY_MISSING": "The cluster has API keys, and the call came without one.",
    "KEY_REVOKED": "The key was revoked.",
    "KEY_UNKNOWN": "The key is unknown.",
}
_CALL_CODES: Final = {
    "INTERNAL": ("INTERNAL", "A fault of the server; its log has it."),
    "SHARD_CALL_FAILED": ("as the call", "A call to a shard failed without a status of ours."),
}


def _classes() -> Iterator[type[Exception]]:
    """The error classes of the three packages but for the bases, in the order of their modules."""
    for module, base in ((router, router.RouterError), (query, query.QueryError), (store, store.StoreError)):
        for each in vars(module).values():
            if isinstance(each, type) and issubclass(each, base) and each is not base:
                yield each


def _made(error: type[Exception]) -> Exception:
    """An instance of an error, with something for each argument that has no default."""
    if "__init__" not in {name for each in error.__mro__ if each.__module__ != "builtins" for name in vars(each)}:
        return error("x")
    said: Mapping[str, object] = {"str": "x", "int": 1, "object": "x", "bool": False, "bytes": b"x", "Path": Path("x")}
    wanted = inspect.signature(error).parameters.values()
    positional = [each for each in wanted if each.kind is each.POSITIONAL_OR_KEYWORD and each.default is each.empty]
    return error(*(said.get(str(each.annotation), ()) for each in positional))


def _status(error: Exception) -> tuple[str, str]:
    status = describe(error)
    info = error_details_pb2.ErrorInfo()
    for detail in status.details:
        if detail.Unpack(info):
            return str(info.reason), code_pb2.Code.Name(status.code)
    raise AssertionError("every status has a reason")


def _said(error: type) -> str:
    return inspect.cleandoc(error.__doc__ or "").split("\n\n")[0]


def _http() -> Mapping[str, int]:
    return {code.name: status for code, status in _STATUSES.items()}


def _refusals() -> Iterator[tuple[str, str]]:
    """Reasons of Unauthenticated, in order of the code; each must have a meaning here."""
    for path in sorted((ROOT / "cdp_router" / "security").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Unauthenticated":
                reason = node.args[0]
                if isinstance(reason, ast.Constant):
                    yield str(reason.value), _REFUSALS[str(reason.value)]


def _http_problems() -> Iterator[tuple[str, int]]:
    """Codes of the gateway's own answers, with their status."""
    yield from (("not_found", 404), ("method_not_allowed", 405))  # of the framework
    for path in sorted((ROOT / "cdp_router" / "gateway").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                yield from _problem_of(node.func.id, [*node.args, *(each.value for each in node.keywords)])
            if isinstance(node, ast.FunctionDef) and node.name == "busy":
                yield from _problem_of(node.name, node.args.defaults)


def _problem_of(made_by: str, given: Sequence[ast.expr]) -> Iterator[tuple[str, int]]:
    values = [each.value for each in given if isinstance(each, ast.Constant)]
    statuses = [503] if made_by == "busy" else [each for each in values if isinstance(each, int)]
    if made_by in ("Problem", "_refuse", "busy") and statuses:
        yield from ((each, statuses[0]) for each in values if isinstance(each, str) and _HTTP_CODE.fullmatch(each))


def record_codes() -> set[str]:
    """Everything in the rooms that take records that looks like a code."""
    rooms = ("records", "ingest", "identity", "gateway", "importing", "cli/data", "contract")
    below = (ROOT / "cdp_store" / room for room in ("partition", "records"))
    folders = [*(ROOT / "cdp_router" / room for room in rooms), *below]
    found = set[str]()
    for path in (path for folder in folders for path in folder.rglob("*.py")):
        constants = (node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant))
        found |= {each for each in constants if isinstance(each, str) and _CODE.fullmatch(each)}
    return {each for each in found if not each.startswith("CDP_")}


def _name_limits() -> Iterator[tuple[str, str]]:
    """Codes of records with a name beyond what a partition may know."""
    schema = Schema(EVENT_NAMES_MAX, PROPERTY_NAMES_MAX, ATTRIBUTE_NAMES_MAX)
    for table in (schema.events, schema.properties, schema.attributes):
        said = f"The record has a new {table.what} name, and its partition knows {table.limit} already."
        yield f"{table.what}_NAMES_LIMIT".upper(), said


def errors() -> str:
    """Every error code with its status."""
    page = Page("Errors")
    page.say(
        "A call that fails ends with a `google.rpc.Status`. Its `ErrorInfo` has one of these reasons in the domain "
        "`cdp.v1`. The gateway answers questions with the same reason in lower case, as `code`."
    )
    http, rows, silent = _http(), set[tuple[str, str, str]](), list[tuple[str, str]]()
    for error in _classes():
        if error.__name__ == "Unauthenticated":
            rows |= {(reason, "UNAUTHENTICATED", said) for reason, said in _refusals()}
            continue
        reason, code = _status(_made(error))
        if reason == "INTERNAL":
            silent.append((error.__name__, _said(error)))
        else:
            rows.add((reason, code, _said(error)))
    rows |= {(reason, code, said) for reason, (code, said) in _CALL_CODES.items()}
    merged = dict[tuple[str, str], list[str]]()
    for reason, code, said in sorted(rows):
        merged.setdefault((reason, code), []).append(said)
    page.head("Reasons of calls")
    page.table(
        ("reason", "gRPC", "HTTP", "meaning"),
        (
            (f"`{name}`", code, str(http.get(code, "as gRPC" if code == "as the call" else 500)), " ".join(said))
            for (name, code), said in merged.items()
        ),
    )
    page.head("Answers of the gateway itself")
    page.say(
        "SDKs get these, as `code` with a `message`. 503 has `Retry-After`. `invalid_write_key` is the answer to "
        "a refused key."
    )
    page.table(("code", "HTTP"), ((f"`{code}`", str(status)) for code, status in sorted(set(_http_problems()))))
    page.head("Codes of records")
    page.say("One record is refused, and the others of its batch are accepted.")
    codes = sorted((RECORD_CODES | dict(_name_limits())).items())
    page.table(("code", "meaning"), ((f"`{code}`", said) for code, said in codes))
    page.head("Warnings about accepted records")
    page.table(("code", "meaning"), ((f"`{code}`", said) for code, said in _WARNING_CODES.items()))
    page.head("Flags of answers")
    page.table(("flag", "meaning"), ((f"`{code}`", said) for code, said in {**_ANSWER_FLAGS, **_CLIENT_CODES}.items()))
    page.head("Errors without a reason of their own")
    page.say(
        "Processes and commands end with these and print the remedy. If one reaches a call, the call ends with "
        "`INTERNAL`."
    )
    page.table(("error", "meaning"), ((f"`{name}`", said) for name, said in silent))
    return page.text()
