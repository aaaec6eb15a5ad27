"""All that a partition holds, as plain values that can be compared: whatever its rows, chunks and codes are."""

from __future__ import annotations

from cdp_store.identity.identity_tables import to_tables
from cdp_store.partition.partition import Partition
from cdp_store.records.records import encode_batch
from tests.store.contents import Contents, read_contents


def plain(contents: Contents) -> object:
    return contents.created, contents.attributes, contents.events


def state_of(partition: Partition, *, with_names: bool = True) -> object:
    """Everything that must not depend on when a purge ran; with names that are reserved and of which there is nothing
    yet."""
    partition.validate()
    tables = {name: sorted(map(repr, table.to_pylist())) for name, table in to_tables(partition.identity).items()}
    parcels = [
        [encode_batch(opened.parcel.records), opened.parcel.parents, opened.leaving]
        for opened in partition.identity.transfers.open.values()
    ]
    names = {name: set(getattr(partition.capture().schema, name)) for name in ("events", "properties", "attributes")}
    kept_apart = [encode_batch(each.batch) for each in partition.quarantine.entries.values()]
    rules = (len(partition.suppressions), dict(partition.cutoffs()), names if with_names else {}, kept_apart)
    return partition.sequence, plain(read_contents(partition.capture())), tables, parcels, rules
