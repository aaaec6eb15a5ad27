"""Errors of the gateway in words of its interface: nothing of the libraries behind it, and always what to do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from cdp.v1 import query_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_router.gateway.problems import Problem
from cdp_router.gateway.query_side import parsed
from tests.router.gateway_cluster import GatewayCluster, gateway_cluster

_FOREIGN = (
    "Message type", "Failed to", "Timestamp JSON", "bytes-like", "Available Fields", "iterable", "codec", "descriptor",
    "Expecting", "Error", "object has no", "QueryRequest.",
)  # fmt: skip


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayCluster]:
    with gateway_cluster(tmp_path_factory.mktemp("gateway")) as found:
        yield found


def _said(body: bytes) -> str:
    with pytest.raises(Problem) as refused:
        parsed(body, query_pb2.QueryRequest)
    assert refused.value.status == 400
    return refused.value.message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"text": 7}', "text must be a string, not a number"),
        (b'{"text": {"a": 1}}', "text must be a string, not an object"),
        (b'{"txet": "everyone"}', "there is no field 'txet'; did you mean 'text'? The fields are text, tree, cql, by, "
         "as_of, tz, exclude_anonymous, strict, allow_partial, explain"),
        (b'{"allow_partial": "yes"}', "allow_partial must be true or false, not a string"),
        (b'{"as_of": 5}', "as_of must be a date or an instant such as 2026-01-31T10:00:00Z, in quotes, not a number"),
        (b'{"tree": {"segment": {"did": 5}}}', "tree.segment.did must be an object, not a number"),
        (b'{"tree": {"all": {"segments": 5}}}', None),
        (b'"everyone"', "the body must be a JSON object, not a string"),
        (b"null", "the body must be a JSON object, not null"),
        (b"{", "the body is not JSON: it ends too early or is malformed at line 1, column 2"),
        (b"\xff", "the body is not UTF-8: byte 0xff at position 0"),
        (b'{"text": "everyone", "text": "everyone"}', "the body is not JSON: the field 'text' is given twice"),
    ],
)  # fmt: skip
def test_a_question_that_does_not_fit_is_described_by_its_fields(body: bytes, message: str | None) -> None:
    said = _said(body)
    assert message is None or said == message
    assert not any(word in said for word in _FOREIGN), said


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=5,
)
_NAMES = st.sampled_from([*query_pb2.QueryRequest.DESCRIPTOR.fields_by_name, "asOf", "did", "and", "events", "names"])


@given(st.recursive(_JSON, lambda inner: st.dictionaries(_NAMES, inner | _JSON, min_size=1, max_size=2), max_leaves=4))
@settings(max_examples=300)
def test_no_question_is_refused_in_words_of_a_library(body: Any) -> None:
    try:
        parsed(json.dumps(body).encode(), query_pb2.QueryRequest)
    except Problem as refused:
        assert not any(word in refused.message for word in _FOREIGN), refused.message


@pytest.mark.parametrize(("method", "path", "allowed"), [("GET", "/v1/batch", "POST"), ("POST", "/health", "GET")])
def test_another_method_is_refused_with_the_one_that_is_allowed(
    gateway: GatewayCluster, method: str, path: str, allowed: str
) -> None:
    answer = gateway.http.request(method, gateway.url + path)
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert answer.json()["message"] == f"{path} takes {allowed}, not {method}"
    assert allowed in answer.headers["Allow"].split(", ")


def test_a_missing_key_is_said_to_be_missing(gateway: GatewayCluster) -> None:
    gateway.http.auth = None
    try:
        answer = gateway.post("/v1/batch", {"batch": []})
    finally:
        gateway.http.auth = ("web", "")
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_write_key")
    said = answer.json()["message"]
    assert said.startswith("no write key was sent") and "Authorization" in said
