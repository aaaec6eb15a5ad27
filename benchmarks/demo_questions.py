"""The questions of the demo, from simple to involved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

RETAIL_END: Final = "2011-12-10"
SHOP_END: Final = "2024-06-30"


@dataclass(frozen=True, slots=True)
class DemoQuestion:
    """A question in words and in text form, asked as of a date, perhaps broken down by an attribute."""

    name: str
    words: str
    text: str
    as_of: str
    by: str = ""


QUESTIONS: Final = (
    DemoQuestion(
        "attribute", "Which customers live in Germany or France?", 'country in ["Germany", "France"]', RETAIL_END
    ),
    DemoQuestion(
        "recent_count",
        "Who bought at least ten lines in the last 30 days?",
        'count("purchase_line", last: 30d) >= 10',
        RETAIL_END,
    ),
    DemoQuestion(
        "filtered_count",
        "Who outside the United Kingdom ever bought a hundred or more of something under one pound?",
        'count("purchase_line", quantity >= 100, unit_price < 1) >= 1 and country != "United Kingdom"',
        RETAIL_END,
    ),
    DemoQuestion(
        "sum",
        "Who spent more than 1,000 pounds in the last 90 days?",
        'sum("purchase_line".value, last: 90d) > 1000',
        RETAIL_END,
    ),
    DemoQuestion(
        "average_or_maximum",
        "Who buys dear things on average, or once bought a line of over 2,500 pounds?",
        'avg("purchase_line".unit_price) >= 10 or max("purchase_line".value) > 2500',
        RETAIL_END,
    ),
    DemoQuestion(
        "lapsed",
        "Who bought in the first half of 2011 but not in the last 90 days?",
        'did("purchase_line", from: 2011-01-01, to: 2011-06-30) and not did("purchase_line", last: 90d)',
        RETAIL_END,
    ),
    DemoQuestion(
        "first_time",
        "Whose first purchase ever lies in the last 30 days?",
        'first_time("purchase_line", last: 30d)',
        RETAIL_END,
    ),
    DemoQuestion(
        "sequence",
        "Who returned something within a week of buying a line of 100 pounds or more, in 2011?",
        'sequence("purchase_line"(value >= 100) -> "return_line", within: 7d, from: 2011-01-01, to: 2011-12-31)',
        RETAIL_END,
    ),
    DemoQuestion(
        "breakdown",
        "In which countries do the customers live who spent more than 5,000 pounds?",
        'sum("purchase_line".value) > 5000',
        RETAIL_END,
        by="country",
    ),
    DemoQuestion(
        "as_of",
        "At the end of June 2011, who had bought 50 lines or more in the 90 days before?",
        'count("purchase_line", last: 90d) >= 50',
        "2011-07-01",
    ),
    DemoQuestion(
        "cart_abandoners",
        "In the shop: who put something into the cart on a phone in the last four weeks but bought nothing?",
        'did("add_to_cart", platform = "mobile", last_calendar: 4w) and not did("purchase", last_calendar: 4w)'
        ' and channel != "email"',
        SHOP_END,
    ),
    DemoQuestion(
        "funnel",
        "In the shop: how many came from view to cart to purchase within seven days, in the last 90 days?",
        'funnel("product_view" -> "add_to_cart" -> "purchase", within: 7d, last: 90d)',
        SHOP_END,
    ),
)
