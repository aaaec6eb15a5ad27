"""`make demo`: a real and a synthetic data set into a cluster of two shards, a dozen questions, their answers."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from cdp.v1 import query_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from benchmarks.cluster import running_cluster
from benchmarks.demo_questions import QUESTIONS, DemoQuestion
from cdp_router.client import Client

DATA = Path(__file__).parent / "data"
SOURCES = (
    ("online_retail_lines.profiles.parquet", "--default-time", "2010-12-01"),
    ("online_retail_lines.events.parquet",),
    ("ecom_synthetic.profiles.parquet", "--default-time", "2024-01-04"),
    ("ecom_synthetic.events.parquet",),
)
_TOP = 6


def main() -> None:
    """Run the demo."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="cdp-demo-") as folder:
        print("1. A cluster of a router and two shards:  cdp up --shards 2", flush=True)
        with running_cluster(Path(folder), echo=True) as address:
            print("\n2. Customers and invoice lines of a UK gift retailer, then the clickstream of a shop:", flush=True)
            for file, *options in SOURCES:
                load(address, file, *options)
            print(f"\n3. {len(QUESTIONS)} questions, each answered from the raw events:")
            with Client(address) as client:
                for number, question in enumerate(QUESTIONS, 1):
                    show(number, question, ask(client, question))
    print(f"\nDone in {time.monotonic() - started:.0f} s; the cluster is stopped and its data removed.\n")
    print(_NEXT)


_NEXT = """To keep one running and ask your own:
  .venv/bin/cdp up                                                   (data in ./cdp-data; stop with Ctrl-C)
and in another terminal:
  .venv/bin/cdp import benchmarks/data/online_retail_lines.profiles.parquet --default-time 2010-12-01
  .venv/bin/cdp import benchmarks/data/online_retail_lines.events.parquet
  .venv/bin/cdp query 'count("purchase_line", quantity >= 12) >= 20 and country = "France"' --as-of 2011-12-10
  .venv/bin/cdp query 'did("return_line")' --as-of 2011-12-10 --by country
  .venv/bin/cdp profile 12347"""


def load(address: str, file: str, *options: str) -> None:
    """Load one file with `cdp import`."""
    command = [sys.executable, "-m", "cdp_router", "import", "--address", address, str(DATA / file), *options]
    subprocess.run(command, check=True)


def ask(client: Client, question: DemoQuestion) -> query_pb2.QueryResponse:
    """The answer to a demo question."""
    as_of = Timestamp()
    as_of.FromDatetime(datetime.fromisoformat(question.as_of).replace(tzinfo=UTC))
    return client.query(query_pb2.QueryRequest(text=question.text, by=question.by, as_of=as_of))


def show(number: int, question: DemoQuestion, answer: query_pb2.QueryResponse) -> None:
    """Print question, text form, answer, |U| and milliseconds."""
    by = f"   --by {question.by}" if question.by else ""
    print(f"\n{number:2}. {question.words}")
    print(f"    {question.text}   --as-of {question.as_of}{by}")
    print(f"    {describe(answer)}   |U| = {answer.population:,}   {answer.milliseconds:.1f} ms", flush=True)


def describe(answer: query_pb2.QueryResponse) -> str:
    """An answer in one line."""
    if answer.funnel:
        return "  ->  ".join(f"{step.label} {step.count:,}" for step in answer.funnel)
    if not answer.breakdown:
        return f"{answer.count:,} users"
    top = ", ".join(f"{row.value.text or '(none)'} {row.count:,}" for row in answer.breakdown[:_TOP])
    rest = len(answer.breakdown) - _TOP
    return f"{answer.count:,} users: {top}" + (f" and {rest} more" if rest > 0 else "")


if __name__ == "__main__":
    main()
