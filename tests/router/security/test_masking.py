"""One person, for keys that may ask but not see who somebody is: all but what is marked, on every road."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cdp.v1 import ingest_pb2, privacy_pb2, profile_pb2, proof_pb2, query_pb2
from google.protobuf.message import Message

from cdp_router.contract.values import to_value
from cdp_router.rpc.call import Call
from cdp_router.rpc.principal import Principal, Role
from cdp_router.security.gates import ClusterGate, KeyGate
from cdp_router.security.keys.key_file import KeyFile, change_keys
from cdp_router.security.keys.keys import mint
from cdp_router.security.privacy.masking import MASKED, mask_profile
from cdp_router.security.privacy.privacy import Privacy, SharedPrivacy
from tests.router.encodings import Sent, protobuf_batch
from tests.router.gateway_cluster import gateway_cluster
from tests.router.local_cluster import NOW_MS, FixedClock, far_deadline
from tests.router.served_cluster import Served, served_cluster

SECRET = "ann@example.org"
MARKS = ("email", "contact", "cart.receiver")


def _value(value: Any) -> ingest_pb2.Value:
    return to_value(value)


def test_what_is_marked_is_masked_wherever_it_is_nested() -> None:
    profile = query_pb2.GetProfileResponse()
    profile.identifiers.add(kind="user_id", value="ann")
    profile.identifiers.add(kind="email", value=SECRET)
    profile.attributes["plan"].text = "gold"
    profile.attributes["contact.phone"].integer = 5
    profile.attributes["cart"].CopyFrom(_value([{"sku": "a", "receiver": SECRET}, {"receiver": {"name": SECRET}}]))
    event = profile.events.add(name="View")
    event.properties["email"].text = SECRET
    event.properties["emails"].text = "kept"
    event.origin.source.kind, event.origin.source.value = "email", SECRET
    mask_profile(profile, Privacy(MARKS))
    assert SECRET not in str(profile)
    assert [each.value for each in profile.identifiers] == ["ann", MASKED.text]
    assert profile.attributes["plan"].text == "gold" and profile.attributes["contact.phone"] == MASKED
    assert profile.attributes["cart"] == _value([{"sku": "a", "receiver": MASKED.text}, {"receiver": MASKED.text}])
    assert dict(event.properties) == {"email": MASKED, "emails": _value("kept")}
    assert event.origin.source.value == MASKED.text
    untouched = query_pb2.GetProfileResponse()
    untouched.attributes["email"].text = SECRET
    mask_profile(untouched, Privacy(("phone",)))
    assert untouched.attributes["email"].text == SECRET


class _Asked:
    """A cluster with one person in it, asked with keys of some roles."""

    def __init__(self, runner: asyncio.Runner, served: Served, keys: dict[str, str]) -> None:
        self.runner, self.served, self.keys = runner, served, keys

    def ask(self, who: str, method: str, request: Message, response: type[Message]) -> Any:
        """The answer, or the reason of the refusal."""
        stub = self.served.router.unary_unary(f"/cdp.v1.{method}")

        async def call() -> Any:
            try:
                metadata = (("authorization", f"Bearer {self.keys[who]}"),)
                return response.FromString(await stub(request.SerializeToString(), metadata=metadata))
            except grpc.aio.AioRpcError as error:
                assert error.code() is grpc.StatusCode.PERMISSION_DENIED, error
                return next(text for text in _REASONS if text.encode() in _details(error))

        return self.runner.run(call())

    def mark(self, mark: tuple[str, ...], unmark: tuple[str, ...] = ()) -> None:
        request = privacy_pb2.ChangePrivacyRequest(mark=mark, unmark=unmark)
        self.ask("admin", "PrivacyService/ChangePrivacy", request, privacy_pb2.ChangePrivacyResponse)


_REASONS = ("NOTHING_MARKED", "PERSONAL_DATA", "ROLE_MISSING")


def _details(error: grpc.aio.AioRpcError) -> bytes:
    found = dict(error.trailing_metadata() or ())["grpc-status-details-bin"]
    assert isinstance(found, bytes)
    return found


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Asked]:
    folder = tmp_path_factory.mktemp("masked")
    roles = {"analyst": [Role.QUERY], "seer": [Role.PROFILE_READ], "admin": [Role.ADMIN]}
    keys = {name: mint(name, held, NOW_MS) for name, held in roles.items()}
    change_keys(folder / "keys.json", lambda known: (None, {stored.id: stored for _, stored in keys.values()}))
    gates = KeyGate(KeyFile(folder / "keys.json"), FixedClock()), ClusterGate("x")
    person = [
        Sent(None, "ann", NOW_MS - 9, {"email": SECRET, "plan": "gold"}),
        Sent("View", "ann", NOW_MS - 8, {"email": SECRET, "n": 1}, anonymous_id="d1"),
        Sent("View", "ann", NOW_MS - 7, {"n": 2}),
    ]
    with asyncio.Runner() as runner:
        manager = served_cluster(folder, gates=gates)
        served = runner.run(manager.__aenter__())
        runner.run(served.ingest(protobuf_batch(person)))
        yield _Asked(runner, served, {name: shown for name, (shown, _) in keys.items()})
        runner.run(manager.__aexit__(None, None, None))


ANN = profile_pb2.ProfileName(user_id="ann")
ROADS: list[tuple[str, Message, type[Message]]] = [
    ("QueryService/GetProfile", query_pb2.GetProfileRequest(user_id="ann"), query_pb2.GetProfileResponse),
    (
        "ProfileService/BatchGetProfiles",
        profile_pb2.BatchGetProfilesRequest(names=[ANN, profile_pb2.ProfileName(user_id="nobody")], events_max=5),
        profile_pb2.BatchGetProfilesResponse,
    ),
    (
        "ProfileService/ListProfileEvents",
        profile_pb2.ListProfileEventsRequest(name=ANN),
        profile_pb2.ListProfileEventsResponse,
    ),
    (
        "ProofService/ExplainUser",
        proof_pb2.ExplainUserRequest(user_id="ann", text='did("View", n = 1)'),
        proof_pb2.ExplainUserResponse,
    ),
]


@pytest.mark.parametrize(("method", "request_", "response"), ROADS, ids=[road[0] for road in ROADS])
def test_a_key_that_may_only_ask_sees_all_but_what_is_marked(
    asked: _Asked, method: str, request_: Message, response: type[Message]
) -> None:
    asked.mark((), MARKS)
    assert asked.ask("analyst", method, request_, response) == "NOTHING_MARKED"
    asked.mark(MARKS)
    whole, masked = (asked.ask(who, method, request_, response) for who in ("seer", "analyst"))
    assert SECRET in str(whole) and SECRET not in str(masked)
    shown = str(whole).replace(SECRET, MASKED.text)
    assert str(masked) == shown, "nothing else differs"


def test_who_is_found_by_a_marked_kind_would_be_told_by_it(asked: _Asked) -> None:
    asked.mark((*MARKS, "anonymous_id"))
    by_device = query_pb2.GetProfileRequest(anonymous_id="d1")
    assert asked.ask("analyst", *_profile(by_device)) == "PERSONAL_DATA"
    assert asked.ask("seer", *_profile(by_device)).identifiers[0].value == "ann"
    listing = profile_pb2.ListProfileIdentifiersRequest(name=ANN)
    own = ("ProfileService/ListProfileIdentifiers", listing, profile_pb2.ListProfileIdentifiersResponse)
    for who, device in (("seer", "d1"), ("analyst", MASKED.text)):
        assert [each.value for each in asked.ask(who, *own).identifiers] == ["ann", device]
    asked.mark((), ("anonymous_id",))


@pytest.mark.parametrize("text", [f'email = "{SECRET}"', "exists(email)", f'did("View", email = "{SECRET}")'])
def test_no_proof_tells_a_marked_value(asked: _Asked, text: str) -> None:
    asked.mark(MARKS)
    request = proof_pb2.ExplainUserRequest(user_id="ann", text=text)
    road = ("ProofService/ExplainUser", request, proof_pb2.ExplainUserResponse)
    assert asked.ask("analyst", *road) == "PERSONAL_DATA"
    assert asked.ask("seer", *road).member


def _profile(request: query_pb2.GetProfileRequest) -> tuple[str, Message, type[Message]]:
    return "QueryService/GetProfile", request, query_pb2.GetProfileResponse


class _AnalystsGate:
    """Everybody is somebody who may only ask."""

    def admit(self, call: Call, metadata: grpc.aio.Metadata) -> None:
        call.principal = Principal("analyst", "analyst", frozenset({Role.QUERY}))

    def renew(self, call: Call) -> None:
        """Nothing ends."""


def test_http_shows_no_more(tmp_path: Path) -> None:
    with gateway_cluster(tmp_path, gate=_AnalystsGate()) as gateway:
        gateway.cluster.ingest(protobuf_batch([Sent(None, "ann", NOW_MS, {"email": SECRET, "plan": "gold"})]))
        gateway.http.auth = None
        refused = gateway.post("/v1/profiles:get", {"userId": "ann"})
        assert (refused.status_code, refused.json()["code"]) == (403, "nothing_marked")
        gateway.cluster.run(SharedPrivacy(gateway.cluster.routing).change(["email"], [], None, far_deadline()))
        shown = gateway.post("/v1/profiles:get", {"userId": "ann"}).json()["attributes"]
        assert shown == {"email": {"text": MASKED.text}, "plan": {"text": "gold"}}
