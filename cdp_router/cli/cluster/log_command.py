"""`cdp log`: the logs of a data directory, without a running cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cdp_router.cli.console import OUT, fail

log = typer.Typer(name="log", help="Read the logs of a data directory.", no_args_is_help=True)


@log.callback()
def _log() -> None:
    """Reads the logs of a data directory."""


@log.command("dump")
def dump(
    data: Annotated[Path, typer.Option(help="Directory of the data.")] = Path("cdp-data"),
    shard: Annotated[int | None, typer.Option(min=0, help="Only this shard.")] = None,
    records: Annotated[
        bool, typer.Option("--records", help="Also list the records of each batch, with message ids.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per record.")] = False,
) -> None:
    """List the records of the logs. Reads only; damage ends the list with an error that names the place."""
    # Imported here: other commands need neither the compiler nor the log.
    import msgspec

    from cdp_router.cluster.topology import CLUSTER_REMEDY, ClusterDirectory
    from cdp_router.restore.log_dump import read_lines, readable
    from cdp_store.errors import FileMissing, StoreError

    directory = ClusterDirectory(data)
    try:
        if not directory.cluster_path.exists():
            if not directory.shards_here():
                fail(f"there is no cluster in {data}; give the --data directory of `cdp up`")
            raise FileMissing(directory.cluster_path, CLUSTER_REMEDY)
        directory.load()
        here = directory.shards_here()
        if shard is not None and shard not in here:
            fail(f"--shard {shard} is none of the shards in {data}: {', '.join(map(str, here))}", 2)
        for number in here if shard is None else (shard,):
            for line in read_lines(directory.shard_path(number), number, with_records=records):
                OUT.print(msgspec.json.encode(line).decode() if as_json else readable(line), soft_wrap=True)
    except FileNotFoundError as error:
        fail(f"{error.filename} is missing; --data must name the directory of a cluster")
    except (StoreError, OSError) as error:
        fail(str(error))
