"""Send events in the background: `python examples/write.py` while `cdp up` runs."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

from cdp_router.client import Client, Lost, Rejected, Warned, Writer

ADDRESS = os.environ.get("CDP_ADDRESS", "127.0.0.1:7400")
MONDAY = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def main() -> None:
    """Track a shop's visitors; what cannot be taken is printed."""
    problems = list[Rejected | Lost | Warned]()
    with Client(ADDRESS) as client, Writer(client, on_problem=problems.append) as writer:
        for number in range(200):
            user, visit = f"example-{number}", MONDAY + timedelta(minutes=number)
            writer.identify(user, {"plan": "gold" if number % 4 == 0 else "free", "country": "IN"}, time=MONDAY)
            # With ids of your own, running this again changes nothing.
            writer.track("example.Viewed", user, {"sku": f"s-{number % 7}"}, time=visit, message_id=f"viewed-{number}")
            if number % 2 == 0:
                paid = {"amount": 9.5 + number, "currency": "EUR"}
                writer.track("example.Charged", user, paid, time=visit, message_id=f"charged-{number}")
        writer.track("", "example-0")  # an event needs a name: this one comes back
        writer.flush()
        print(f"{writer.tally.accepted + writer.tally.duplicates} records are durable")
        for problem in problems:
            print(problem)


if __name__ == "__main__":
    main()
