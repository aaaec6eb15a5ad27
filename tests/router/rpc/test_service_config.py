"""The published service config: what clients may repeat by themselves is what the contract calls idempotent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import import_module, resources
from pathlib import Path

import cdp.v1
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions

from cdp_router.rpc.method_bounds import bounds_of

_CONFIG = json.loads((resources.files("cdp.v1") / "service_config.json").read_text())


def methods() -> Iterator[MethodDescriptor]:
    """Every method of the contract."""
    for path in sorted(Path(next(iter(cdp.v1.__path__))).glob("*_pb2.py")):
        for service in import_module(f"cdp.v1.{path.stem}").DESCRIPTOR.services_by_name.values():
            yield from service.methods


PUBLIC = [method for method in methods() if method.containing_service.name != "ShardService"]


def _listed() -> dict[tuple[str, str], dict[str, object]]:
    return {(name["service"], name["method"]): config for config in _CONFIG["methodConfig"] for name in config["name"]}


@pytest.mark.parametrize("method", PUBLIC, ids=lambda method: method.full_name)
def test_exactly_the_idempotent_methods_are_repeated(method: MethodDescriptor) -> None:
    repeatable = method.GetOptions().idempotency_level != MethodOptions.IDEMPOTENCY_UNKNOWN
    assert ((method.containing_service.full_name, method.name) in _listed()) == repeatable


@pytest.mark.parametrize("method", PUBLIC, ids=lambda method: method.full_name)
def test_its_time_is_the_cap_of_the_server(method: MethodDescriptor) -> None:
    found = _listed().get((method.containing_service.full_name, method.name))
    if found is not None:
        path = f"/{method.containing_service.full_name}/{method.name}"
        assert found["timeout"] == f"{bounds_of(path).seconds:g}s"


def test_every_method_named_there_exists() -> None:
    assert set(_listed()) <= {(method.containing_service.full_name, method.name) for method in PUBLIC}


def test_the_retries_are_those_grpc_allows() -> None:
    for config in _CONFIG["methodConfig"]:
        assert config["retryPolicy"]["maxAttempts"] <= 5
        assert config["retryPolicy"]["retryableStatusCodes"] == ["UNAVAILABLE"]
