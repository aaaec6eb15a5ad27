"""Ask about what examples/write.py has sent, by text and by expressions."""

from __future__ import annotations

import os

from cdp_router.client import Client, RequestFailed
from cdp_router.client.questions import attr, count, did, funnel, prop, sum_of

ADDRESS = os.environ.get("CDP_ADDRESS", "127.0.0.1:7400")


def main() -> None:
    """Print counts, members as tables, one profile, and what an error looks like."""
    with Client(ADDRESS) as client:
        print("by text:", client.count('did("example.Charged", amount >= 100)'))

        big_spenders = (attr("plan") == "gold") & (count("example.Charged", prop("amount") >= 100) >= 1)
        answer = client.answer(big_spenders)
        print(f"gold with a charge of 100 or more: {answer.count} of {answer.population}, exact: {answer.exact}")

        members = client.list_members(big_spenders)
        print("as pandas:", members.to_pandas().shape, "as Polars:", members.to_polars().shape)

        steps = client.answer(funnel("example.Viewed", "example.Charged").within("1d"))
        print("funnel:", steps.funnel)
        plans = client.answer('did("example.Viewed")', by="plan")
        print("by plan:", sorted(plans.breakdown))
        print("spent:", client.count(sum_of("example.Charged", "amount") > 150))

        profile = client.find_profile(user_id="example-0", events_max=5)
        assert profile is not None
        print(profile.attributes["plan"], [event.name for event in profile.events])
        print("timeline:", sum(1 for _ in client.timeline(user_id="example-0", page_size=1)))

        try:
            client.count('did("example.Charged" and')
        except RequestFailed as error:
            print(error.code.name, error.reason, error.field)
        print("unknown names are a warning:", client.answer(did("example.Chraged")).warnings[0])


if __name__ == "__main__":
    main()
