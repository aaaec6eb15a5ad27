"""A holder of an admin key has snapshots copied only where the router's operator allows it."""

from __future__ import annotations

import pytest

from cdp_router.errors import RequestInvalid
from cdp_router.security.snapshot_places import PLACES, allowed_places, check_place

ALLOWED = allowed_places({PLACES: "/backups , s3://bucket/cdp,"})


@pytest.mark.parametrize(
    "destination",
    ["", "/backups", "/backups/", "/backups/a/b", "//backups/./a", "s3://bucket/cdp", "S3://bucket/cdp/x?a=b"],
)
def test_what_lies_below_an_allowed_place_is_written(destination: str) -> None:
    check_place(destination, ALLOWED)


@pytest.mark.parametrize(
    "destination",
    [
        "/",
        "/backups2",
        "/backups/../etc",
        "/backups/a/../../etc",
        "backups",
        "../backups",
        "file:///backups",
        "s3://bucket",
        "s3://bucket/cdp2",
        "s3://bucket/cdp/../other",
        "s3://bucket/cdp/%2e%2e/other",
        "s3://other/cdp",
        "gs://bucket/cdp",
    ],
)
def test_anything_else_is_refused(destination: str) -> None:
    with pytest.raises(RequestInvalid, match="may be copied below"):
        check_place(destination, ALLOWED)
    check_place(destination, allowed_places({}))
