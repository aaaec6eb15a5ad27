"""A cluster of processes with keys, certificates, an audit and things withheld, from outside."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
import requests
from cdp.v1 import shard_pb2, shard_pb2_grpc

from cdp_router.client import Client, ClusterUnreachable, RequestFailed, Tls
from tests.certificates import Authority
from tests.e2e.processes import ENVIRONMENT, cdp, read_until, starting_cluster


def _cdp(key: str, tls: Tls, *words: object) -> str:
    """What a command prints that has a key and a certificate."""
    files = {"CDP_TLS_CERT": tls.certificate, "CDP_TLS_KEY": tls.key, "CDP_TLS_CA": tls.ca}
    done = subprocess.run(
        [sys.executable, "-m", "cdp_router", *map(str, words)],
        capture_output=True,
        text=True,
        env={**ENVIRONMENT, "CDP_API_KEY": key, **{name: str(path) for name, path in files.items()}},
        check=False,
    )
    return done.stdout + done.stderr


@pytest.mark.long
def test_keys_certificates_audit_and_what_is_withheld(tmp_path: Path) -> None:
    data, tls = tmp_path / "data", Authority(tmp_path, "ours").sign("cluster")
    data.mkdir()
    cdp("init", "--shards", 2, "--partitions", 4, "--data", data)
    roles = {"all": ["ingest", "query", "profile-read", "admin", "erase"], "web": ["ingest"], "analyst": ["query"]}
    key = {
        name: cdp("keys", "create", name, *(word for role in given for word in ("--role", role)), "--data", data).stdout
        for name, given in roles.items()
    }
    key = {name: shown.strip() for name, shown in key.items()}
    certificates = ("--tls-cert", tls.certificate, "--tls-key", tls.key, "--tls-ca", tls.ca)
    with starting_cluster("--data", data, "--shards", 2, "--partitions", 4, "--gateway", *certificates) as process:
        said = read_until(process, "stop: Ctrl-C")
        where = dict(re.findall(r"^(router|gateway|shard 0) +(127\.0\.0\.1:\d+) ", said, re.MULTILINE))
        router, gateway, shard = where["router"], where["gateway"], where["shard 0"]
        with Client(router, key["all"], tls) as client:
            assert client.status().partition_count == 4
        for api_key, reason in (("", "KEY_MISSING"), (key["web"], "ROLE_MISSING")):
            with Client(router, api_key, tls) as client, pytest.raises(RequestFailed) as caught:
                client.status()
            assert caught.value.reason == reason
        with Client(router, key["all"]) as client, pytest.raises(ClusterUnreachable):
            client.status()
        sent = requests.post(
            f"https://{gateway}/v1/identify",
            json={"userId": "u1", "messageId": "m1", "traits": {"email": "u1@x.org"}},
            auth=(key["web"], ""),
            verify=str(tls.ca),
            timeout=30,
        )
        assert sent.status_code == 200, sent.text
        assert (
            requests.post(
                f"https://{gateway}/v1/track", json={}, auth=("cdp_x_y", ""), verify=str(tls.ca), timeout=30
            ).status_code
            == 401
        )
        assert "1 of 1 user (" in _cdp(key["all"], tls, "query", "everyone", "--address", router)
        assert "personal: email" in _cdp(key["all"], tls, "privacy", "mark", "email", "--address", router)
        assert "fewer than 10" in _cdp(key["analyst"], tls, "query", "everyone", "--address", router)
        assert "profile-read" in _cdp(key["analyst"], tls, "query", 'email = "x"', "--address", router)
        assert "u1@x.org" in _cdp(key["all"], tls, "profile", "u1", "--address", router)
        with grpc.secure_channel(shard, tls.channel()) as channel, pytest.raises(grpc.RpcError) as refused:
            shard_pb2_grpc.ShardServiceStub(channel).ReadStatus(shard_pb2.ReadStatusRequest(), timeout=20)
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert "forget" not in _cdp(key["analyst"], tls, "erase", "u1", "--yes", "--address", router)
        _cdp(key["all"], tls, "erase", "u1", "--yes", "--address", router)
        cdp("keys", "revoke", "all", "--data", data)
        assert "was revoked" in _cdp(key["all"], tls, "query", "everyone", "--address", router)
    found = [json.loads(line) for line in cdp("audit", "show", "--data", data, "--json").stdout.splitlines()]
    outcomes = [entry["outcome"] for entry in found if entry["method"] == "AdminService/EraseProfile"]
    assert outcomes == ["ROLE_MISSING", "BEGUN", "OK"]
    about = cdp("audit", "show", "--data", data, "--about", "u1").stdout
    assert "GetProfile" in about and "EraseProfile" in about
    assert "u1@x.org" not in json.dumps(found)
    cdp("audit", "verify", "--data", data)
    path = data / "audit" / "router" / "000001.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], *lines[4:]]))
    assert "entry 4 is missing" in cdp("audit", "verify", "--data", data, code=1).stderr
    assert (data / "keys.json").stat().st_mode & 0o077 == 0
