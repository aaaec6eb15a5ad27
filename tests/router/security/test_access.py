"""Every method of the contract with every kind of key: a typed error, and nothing changed, or it is served."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from cdp.v1 import admin_pb2
from google.protobuf.descriptor import MethodDescriptor

from cdp_router.cluster.shard_methods import SHARD_SERVICES
from cdp_router.errors import REFUSALS
from cdp_router.observing.observing import Observing
from cdp_router.observing.settings import Settings
from cdp_router.process.router import _SERVICES, _Router
from cdp_router.rpc.principal import Role
from cdp_router.security.access import LET_IN, NEEDED
from cdp_router.security.audit.audit import Audit
from cdp_router.security.audit.audit_check import check, read_lines
from cdp_router.security.gates import ClusterGate, KeyGate
from cdp_router.security.keys.key_file import KeyFile, change_keys
from cdp_router.security.keys.keys import KEY_CHARS_MAX, StoredKey, mint
from cdp_router.security.keys.rates import Rates
from cdp_router.security.tls.cluster_secrets import SECRET_HEADER, call_secret
from tests.router.calls import Ending, call
from tests.router.contract_rpcs import methods, path_of
from tests.router.encodings import Sent, protobuf_batch
from tests.router.local_cluster import CLUSTER, NOW_MS, FixedClock, local_cluster
from tests.router.served_cluster import Served, served_cluster

METHODS = list(methods())
PUBLIC = [method for method in METHODS if method.containing_service.full_name not in SHARD_SERVICES]
INTERNAL = [method for method in METHODS if method.containing_service.full_name in SHARD_SERVICES]
_INTERNAL_REASON = "CLUSTER_SECRET_MISSING"


def _name(method: MethodDescriptor) -> str:
    return method.full_name.removeprefix("cdp.v1.")


def _bearer(key: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {key}")]


class _Guarded:
    """A cluster that asks for keys, with some of them."""

    def __init__(self, runner: asyncio.Runner, served: Served, path: Path, audit: Path) -> None:
        self._runner, self.served, self._path, self._audit = runner, served, path, audit

    def key(self, *roles: Role, **fields: Any) -> str:
        """A new key."""
        shown, stored = mint("test", roles, NOW_MS)
        kept = StoredKey(**{name: getattr(stored, name) for name in stored.__struct_fields__} | fields)
        change_keys(self._path, lambda known: (None, {**known, kept.id: kept}))
        return shown

    def call(self, method: MethodDescriptor, metadata: Any = (), raw: bytes = b"") -> Ending:
        """The end of a call."""
        channel = self.served.channel_of(method.containing_service.full_name)
        return self._runner.run(call(channel, method, raw, metadata))

    def refused(self, method: MethodDescriptor) -> list[str]:
        """Why calls of a method were refused, as the audit has it."""
        name = path_of(method).removeprefix("/cdp.v1.")
        lines = (line for _, _, line in read_lines(self._audit / "router") if line is not None)
        return [line.entry.outcome for line in lines if line.entry.method == name and line.entry.outcome in REFUSALS]

    def digest(self) -> str:
        """What all data amounts to."""
        shown = _bearer(self.key(Role.ADMIN))
        stub = self.served.router.unary_unary("/cdp.v1.AdminService/GetDigest")

        async def ask() -> bytes:
            return await stub(b"", metadata=shown)

        return admin_pb2.GetDigestResponse.FromString(self._runner.run(ask())).digest


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    path = folder / "keys.json"
    change_keys(path, lambda known: (None, known))
    gates = KeyGate(KeyFile(path), FixedClock()), ClusterGate(call_secret(CLUSTER))
    audit = Audit(folder / "audit", b"chain", b"people", FixedClock())
    with asyncio.Runner() as runner:
        manager = served_cluster(folder, gates=gates, record=audit)
        served = runner.run(manager.__aenter__())
        runner.run(served.ingest(protobuf_batch([Sent("View", f"u{n}", NOW_MS - n, {"n": n}) for n in range(20)])))
        yield _Guarded(runner, served, path, folder / "audit")
        runner.run(manager.__aexit__(None, None, None))
    audit.close()
    assert not check(folder / "audit" / "router", b"chain").problems


def test_every_method_has_a_role_and_nothing_else_has() -> None:
    assert {path_of(method) for method in PUBLIC} == set(NEEDED) == set(LET_IN)


class _Registry:
    """What services are added to, instead of a server."""

    def __init__(self) -> None:
        self.paths = set[str]()

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """Those are the same as the registered ones."""

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Any]) -> None:
        self.paths |= {f"/{service}/{name}" for name in handlers}


def test_a_router_process_serves_what_is_tried_here_and_nothing_else(tmp_path: Path) -> None:
    registry: Any = _Registry()
    with local_cluster(tmp_path) as cluster, ThreadPoolExecutor(1) as threads:
        observing = Observing("router", Settings(), None)
        made = _Router(tmp_path, cluster.routing, FixedClock(), observing, Rates(), threads)
        assert set(cluster.run(made.serve(registry))) == {"schema", "profiles", "erasures"}
    assert registry.paths == {path_of(method) for method in PUBLIC}
    assert set(_SERVICES) == {method.containing_service.full_name for method in PUBLIC}


@pytest.mark.parametrize("method", PUBLIC, ids=_name)
def test_without_a_key_that_holds_nothing_is_done(guarded: _Guarded, method: MethodDescriptor) -> None:
    role = NEEDED[path_of(method)]
    good = guarded.key(role)
    before = guarded.served.state()
    wrong = {
        "KEY_MISSING": [],
        "KEY_MALFORMED": _bearer("x" * (KEY_CHARS_MAX + 1)),
        "KEY_UNKNOWN": _bearer(good[:-1]),
        "KEY_EXPIRED": _bearer(guarded.key(role, expires_ms=NOW_MS)),
        "KEY_REVOKED": _bearer(guarded.key(role, revoked_ms=NOW_MS)),
    }
    for reason, shown in wrong.items():
        ending = guarded.call(method, shown)
        assert (ending.code, ending.reason) == (grpc.StatusCode.UNAUTHENTICATED, reason)
        assert not ending.responses
    assert guarded.call(method, [*_bearer(good), *_bearer(good)]).reason == "KEY_MALFORMED"
    assert guarded.call(method, [("authorization", f"Basic {good}")]).reason == "KEY_MALFORMED"
    others = guarded.key(*(each for each in Role if each not in LET_IN[path_of(method)]))
    ending = guarded.call(method, _bearer(others))
    assert (ending.code, ending.reason) == (grpc.StatusCode.PERMISSION_DENIED, "ROLE_MISSING")
    assert ending.info().metadata["role"] == role
    assert guarded.served.state() == before
    assert guarded.refused(method) == [*wrong, "KEY_MALFORMED", "KEY_MALFORMED", "ROLE_MISSING"]


@pytest.mark.parametrize("method", PUBLIC, ids=_name)
def test_a_key_with_the_role_is_let_in(
    guarded: _Guarded, method: MethodDescriptor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for role in LET_IN[path_of(method)]:
        ending = guarded.call(method, _bearer(guarded.key(role)))
        assert ending.code is not grpc.StatusCode.UNAUTHENTICATED
        assert ending.code is not grpc.StatusCode.PERMISSION_DENIED or ending.reason == "NOTHING_MARKED"


@pytest.mark.parametrize("method", INTERNAL, ids=_name)
def test_shards_answer_no_strangers(guarded: _Guarded, method: MethodDescriptor) -> None:
    before = guarded.served.state()
    every_role = _bearer(guarded.key(*Role))
    secret = call_secret(CLUSTER)
    for shown in ([], every_role, [(SECRET_HEADER, secret[:-1])], [(SECRET_HEADER, "")], 2 * [(SECRET_HEADER, secret)]):
        ending = guarded.call(method, shown)
        assert (ending.code, ending.reason) == (grpc.StatusCode.UNAUTHENTICATED, _INTERNAL_REASON)
    assert guarded.served.state() == before
    assert guarded.call(method, [(SECRET_HEADER, secret)]).reason != _INTERNAL_REASON


@pytest.mark.parametrize(
    "method", [PUBLIC[0], next(each for each in PUBLIC if each.server_streaming), INTERNAL[0]], ids=_name
)
def test_a_key_beyond_what_metadata_may_hold_is_refused_by_the_server_itself(
    guarded: _Guarded, method: MethodDescriptor
) -> None:
    before = guarded.served.state()
    ending = guarded.call(method, _bearer("x" * (1 << 17)))
    assert ending.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert guarded.served.state() == before


def test_all_of_that_has_left_the_data_as_it_was(guarded: _Guarded) -> None:
    [erase] = [method for method in PUBLIC if method.name == "EraseProfile"]
    raw = admin_pb2.EraseProfileRequest(user_id="u1").SerializeToString()
    before = guarded.digest()
    assert guarded.call(erase, _bearer(guarded.key(Role.ADMIN)), raw).reason == "ROLE_MISSING"
    assert guarded.digest() == before
    assert guarded.call(erase, _bearer(guarded.key(Role.ERASE)), raw).code is grpc.StatusCode.OK
    assert guarded.digest() != before
