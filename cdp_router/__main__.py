"""`python -m cdp_router` is the `cdp` command."""

from cdp_router.cli.app import app

app()
