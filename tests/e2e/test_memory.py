"""A cluster whose shards may take less memory than they do: data is refused, questions are answered."""

from __future__ import annotations

import re
from pathlib import Path

import grpc
import pytest
from cdp.v1 import query_pb2

from cdp_router.client import Client, RequestFailed
from tests.e2e.processes import read_until, shard_process, starting_cluster
from tests.router.encodings import Sent, protobuf_batch


def test_row_21_a_shard_over_its_memory_refuses_data_and_answers_on(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with starting_cluster("--data", data, "--shards", 1, "--memory-mib", 1) as process:
        said = read_until(process, "ready: router at")
        address = re.findall(r"ready: router at (\S+)", said)[0]
        with Client(address) as client:
            with pytest.raises(RequestFailed) as caught:
                client.ingest(protobuf_batch([Sent("View", "ann", 1, {})]), 20.0, 0.0)
            assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "MiB of memory" in str(caught.value)
            assert client.query(query_pb2.QueryRequest(text="everyone")).count == 0
        assert shard_process(data, 0) is not None
