"""What a process does before it says that it is ready, and what that relies on."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from pathlib import Path

import msgspec

from cdp_router.process.supervised import Report
from cdp_store.ids import PartitionId, encode_identifier
from tests.raw_records import Change, Event, user
from tests.router.local_cluster import open_store
from tests.store.snapshot.test_cold import deliver

ANN, BOB = user("ann"), user("bob")
_READY = """
import gc, weakref
from cdp_router.process.supervised import report_ready
class Garbage: pass
garbage = Garbage()
garbage.itself, reference = garbage, weakref.ref(garbage)
gc.disable()
del garbage
report_ready(7)
print(gc.get_freeze_count(), int(reference() is None))
"""


_WITH_ARROW = """
import sys
from cdp_router.process.supervised import run_process
async def main():
    import pyarrow as pa
    print(pa.array(["x"]).to_pylist(), sum(name.startswith("pandas.") for name in sys.modules))
run_process(main)
"""


def test_a_process_that_makes_arrow_arrays_does_not_wait_for_pandas() -> None:
    done = subprocess.run([sys.executable, "-c", _WITH_ARROW], capture_output=True, text=True, check=True)
    assert done.stdout == "['x'] 0\n"


def test_what_a_ready_process_has_is_left_out_of_the_search_for_garbage() -> None:
    done = subprocess.run([sys.executable, "-c", _READY], capture_output=True, text=True, check=True)
    ready, counts = done.stdout.splitlines()
    assert msgspec.json.decode(ready, type=Report) == Report("ready", port=7)
    frozen, is_gone = map(int, counts.split())
    assert frozen > 10_000
    assert is_gone, "garbage there was went before"


def test_what_a_partition_lets_go_of_is_free_without_that_search(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    number = PartitionId(0)
    for turn in range(3):
        deliver(store, [Event(who, "View", turn, {"n": turn, "s": "x"}) for who in (ANN, BOB)])
        deliver(store, [Change(who, turn, {"plan": f"p{turn}"}) for who in (ANN, BOB)])
    store.maintain(0)
    store.snapshot(0)
    partition = store.partitions[number]
    held = [weakref.ref(partition._memory), weakref.ref(partition.capture().event_chunks(0)[0])]
    gc.disable()
    try:
        store.erase(number, [encode_identifier(*ANN)])
        store.purge()
        store.snapshot(0)
        store.snapshot(0)
        assert [each() for each in held] == [None, None], "the memory from before the purge"
        held = [weakref.ref(partition), weakref.ref(partition.capture().event_chunks(0)[0])]
        store.drop(number)
        del partition
        assert [each() for each in held] == [None, None], "a partition that went to another shard"
    finally:
        gc.enable()
        store.close()
