"""The table of a shard's methods: it says what the contract says, and every method in it is served."""

from __future__ import annotations

from pathlib import Path

from cdp.v1 import partition_pb2, shard_pb2

from cdp_router.cluster.shard_methods import (
    METHODS,
    SHARD_SERVICES,
    StreamMethod,
    UnaryMethod,
    of_partition,
    of_partitions,
)
from cdp_router.contract.partition_claims import PartitionClaim
from cdp_router.shard.handlers import Handlers
from cdp_router.shard.server import ShardServer
from tests.router.local_cluster import open_store

_IN_THE_CONTRACT = {
    (service.full_name, method.name): method
    for file in (shard_pb2.DESCRIPTOR, partition_pb2.DESCRIPTOR)
    for service in file.services_by_name.values()
    for method in service.methods
}


def test_the_table_is_the_contract() -> None:
    assert sorted((each.service, each.name) for each in METHODS) == sorted(_IN_THE_CONTRACT)
    assert set(SHARD_SERVICES) == {service for service, _ in _IN_THE_CONTRACT}
    for each in METHODS:
        method = _IN_THE_CONTRACT[each.service, each.name]
        assert each.path == f"/{method.containing_service.full_name}/{method.name}"
        assert (each.request.DESCRIPTOR, each.response.DESCRIPTOR) == (method.input_type, method.output_type)
        assert isinstance(each, StreamMethod if method.server_streaming else UnaryMethod)
        assert not method.client_streaming


def test_a_request_that_names_claims_is_addressed_to_them() -> None:
    """Requests of partitions carry their epochs; only moves, which name one on their own, are about the shard."""
    claims = [PartitionClaim(2, 5, 0)]
    for each in METHODS:
        fields, request = each.request.DESCRIPTOR.fields_by_name, each.request()
        each.address(request, "the cluster", claims)
        if each.service == SHARD_SERVICES[1]:
            assert not request.ListFields()
        elif "partitions" in fields:
            assert each.address is of_partitions
            [about] = request.partitions
            assert (request.cluster, about.partition, about.epoch) == ("the cluster", 2, 5)
        elif "partition" in fields:
            assert each.address is of_partition
            assert (request.cluster, request.partition, request.epoch) == ("the cluster", 2, 5)


def test_every_method_is_served(tmp_path: Path) -> None:
    server = ShardServer(open_store(tmp_path, 0), lambda error: None)
    assert set(Handlers(server)._serving) == set(METHODS)
    server.readings.close()
