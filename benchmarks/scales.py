"""Everything that is fixed by name: scales, the instant asked about, event names, attributes and their values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

DAY_MS: Final = 86_400_000
HOUR_MS: Final = 3_600_000
WEEK_MS: Final = 7 * DAY_MS

AS_OF_MS: Final = 1_767_225_600_000
"""2026-01-01T00:00:00Z: the end of the history and the instant every query is asked as of."""

HISTORY_DAYS: Final = 365
START_MS: Final = AS_OF_MS - HISTORY_DAYS * DAY_MS
DEFAULT_SEED: Final = 20_260_101


ScaleName: TypeAlias = Literal["smoke", "S", "M", "L"]


@dataclass(frozen=True, slots=True)
class Scale:
    """A named size of the same workload."""

    name: ScaleName
    profile_count: int
    event_count: int


SCALES: Final[Mapping[ScaleName, Scale]] = {
    scale.name: scale
    for scale in (
        Scale("smoke", 2_000, 50_000),
        Scale("S", 200_000, 5_000_000),
        Scale("M", 2_000_000, 50_000_000),
        Scale("L", 10_000_000, 200_000_000),
    )
}

_BUYING = ("amount", "category", "quantity", "flag")
_ITEM = ("amount", "category", "quantity")
_BROWSING = ("category", "quantity", "flag")
_OFFER = ("amount", "category", "flag")
_TOTAL = ("amount", "quantity", "flag")

PROPERTIES_OF: Final[Mapping[str, tuple[str, ...]]] = {
    "App Launched": _BROWSING,
    "Product Viewed": _BUYING,
    "Added To Cart": _ITEM,
    "Charged": (*_BUYING, "order_id"),
    "Searched": _BROWSING,
    "Category Viewed": _BROWSING,
    "Notification Viewed": _OFFER,
    "Cart Viewed": _TOTAL,
    "Checkout Started": _BUYING,
    "Added To Wishlist": _ITEM,
    "Notification Clicked": _OFFER,
    "Coupon Applied": _OFFER,
    "Product Shared": _BROWSING,
    "Removed From Cart": _ITEM,
    "Video Played": _BROWSING,
    "Review Submitted": _BROWSING,
    "Support Contacted": _BROWSING,
    "Order Returned": _TOTAL,
    "Subscription Renewed": _OFFER,
    "App Updated": _BROWSING,
}
"""Which properties an event carries, by its name; names are ordered from the most to the least frequent."""

EVENT_NAMES: Final = tuple(PROPERTIES_OF)
EVENT_PROPERTIES: Final = (*_BUYING, "order_id")
CATEGORIES: Final = tuple(f"c{number:02d}" for number in range(50))

PLANS: Final = ("free", "silver", "gold", "platinum", "enterprise")
COUNTRIES: Final = (
    "IN", "US", "BR", "ID", "GB", "DE", "FR", "JP", "MX", "NG",
    "VN", "PH", "TR", "IT", "ES", "KR", "CA", "AU", "ZA", "EG",
)  # fmt: skip
CHANNELS: Final = ("organic", "search", "social", "email", "referral", "partner")
DEVICES: Final = ("android", "ios", "web", "tablet", "tv")
TAGS: Final = ("vip", "beta", "newsletter", "churn_risk", "discount", *(f"tag{number:02d}" for number in range(25)))

ATTRIBUTES: Final = (
    "plan", "country", "channel", "device", "age", "loyalty_points",
    "ltv", "score", "signup_time", "last_login", "tags", "email",
)  # fmt: skip
CHANGING_ATTRIBUTES: Final = ("plan", "country")
"""The attributes that a tenth of the profiles set again later."""
