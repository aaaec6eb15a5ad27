"""The OpenAPI document against the gateway, by schemathesis: what it allows is answered as it says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from cdp_router.gateway.openapi import document
from tests.router.gateway_cluster import GatewayCluster, gateway_cluster

pytestmark = pytest.mark.long  # all of it: `make test` does not load this file, nor the library
_SCHEMA = schemathesis.openapi.from_dict(document())


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayCluster]:
    """A gateway without any data."""
    with gateway_cluster(tmp_path_factory.mktemp("gateway")) as found:
        yield found


@_SCHEMA.parametrize()
@settings(max_examples=12, phases=[Phase.generate], suppress_health_check=list(HealthCheck), deadline=None)
def test_whatever_the_document_allows_is_answered_as_it_says(case: Any, gateway: GatewayCluster) -> None:
    case.call_and_validate(
        base_url=gateway.url,
        checks=[not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance],
    )
