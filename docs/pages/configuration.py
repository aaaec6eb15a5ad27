"""Variables of the environment, from the options and from the modules that read them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from cdp_router.gateway.letters.letter_room import RoomLimits
from cdp_router.identity.identifier_limits import IdentifierLimits
from cdp_router.observing.settings import Settings
from cdp_store.limits import MIB
from docs.pages.commands import commands
from docs.pages.page import ROOT, Page

_VARIABLE: Final = re.compile(r"[\"'](CDP_[A-Z_]+)[\"']")
# Variables that are no option of a command: who reads them, their default, and what they mean.
_VARIABLES: Final[Mapping[str, tuple[str, Callable[[], str], str]]] = {
    "CDP_ACCESS_LOG": (
        "router, shard",
        lambda: "off" if not Settings.from_environment({}).access_log else "on",
        "Log every call; any text but `0` turns it on. `cdp up --access-log` sets it.",
    ),
    "CDP_ANONYMOUS_IDS": (
        "gateway, `cdp dead-letters redrive`",
        lambda: "none",
        "A regular expression (RE2): PostHog ids that match are anonymous. For gateways without keys, and for keys "
        "without a pattern of their own.",
    ),
    "CDP_BLOCKED_IDENTIFIERS": (
        "router",
        lambda: "`BLOCKED_DEFAULT` of cdp_router/records/blocklist.py",
        "Identifier values that name nobody, separated by commas. Replaces the list of words; the patterns (zeros, "
        "dashes, unfilled templates) stay.",
    ),
    "CDP_CACHE_DIR": (
        "every process with kernels",
        lambda: "`cdp/kernels` in `$XDG_CACHE_HOME`, or in `~/.cache`",
        "Directory of compiled kernels.",
    ),
    "CDP_DEAD_LETTERS_FREE_MIB": (
        "gateway",
        lambda: str(RoomLimits.from_environment({}).free // MIB),
        "MiB of the disk that dead letters leave free.",
    ),
    "CDP_DEAD_LETTERS_MIB": (
        "gateway",
        lambda: str(RoomLimits.from_environment({}).of_all // MIB),
        "MiB of all dead letters.",
    ),
    "CDP_DEAD_LETTERS_SOURCE_MIB": (
        "gateway",
        lambda: str(RoomLimits.from_environment({}).of_source // MIB),
        "MiB of the dead letters of one source.",
    ),
    "CDP_IDENTIFIERS_MAX": (
        "router",
        lambda: ",".join(
            f"{kind or 'others'}={n}" for kind, n in IdentifierLimits.from_environment({}).by_kind.items()
        ),
        "How many identifiers of a kind may belong to one identifier of a higher kind: "
        "`email=5,anonymous_id=200,others=20`.",
    ),
    "CDP_METRICS": (
        "router, shard, gateway",
        lambda: "none",
        "`host:port` of the router's Prometheus metrics. Shard k serves at the port k + 1 higher, the gateway 80 "
        "higher. `cdp up --metrics-port` sets it.",
    ),
    "CDP_SLOW_QUERY_MS": (
        "router",
        lambda: f"{Settings.from_environment({}).slow_query_ms:g}",
        "Milliseconds from which an answer is logged as slow. `cdp up --slow-query-ms` sets it.",
    ),
    "CDP_SNAPSHOT_PLACES": (
        "router",
        lambda: "any place",
        "Folders and URIs, separated by commas, below which an admin key may have snapshots copied.",
    ),
    "CDP_WARM": (
        "router, shard",
        lambda: "1",
        "`0` leaves loading a kernel to the first call that needs it, instead of loading all before a process is "
        "ready.",
    ),
}
_FOREIGN: Final = (
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "Traces go there, where the extra `traces` is installed."),
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "The same, for traces alone."),
    ("AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL", "Endpoint of S3, for copies of snapshots. Default: Amazon's."),
    ("AWS_REGION, AWS_DEFAULT_REGION", "Region of S3. Default where an endpoint is given: us-east-1."),
    ("AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY", "Credentials of S3."),
    ("XDG_CACHE_HOME", "Parent of the default directory of compiled kernels."),
)


def variables() -> set[str]:
    """Names of all variables of ours that the packages read."""
    packages = ("cdp_store", "cdp_query", "cdp_router")
    sources = (path.read_text() for package in packages for path in (ROOT / package).rglob("*.py"))
    return {name for source in sources for name in _VARIABLE.findall(source)}


def configuration() -> str:
    """Every variable of the environment that is read."""
    page = Page("Configuration")
    page.say(
        "Processes are configured by options of their command ([command line](cli.md)) and by variables of the "
        "environment. `cdp up` hands its environment on to the processes it starts."
    )
    options = dict[str, tuple[str, str, list[str]]]()
    for name, command, _ in commands():
        for each in command.params:
            if variable := getattr(each, "envvar", None):
                default = "none" if each.default in (None, False) else str(each.default)
                options.setdefault(variable, (default, each.help or "", []))[2].append(name)
    known = {*options, *_VARIABLES}
    if unknown := known ^ variables():
        raise SystemExit(f"variables that are read and not described, or the other way round: {sorted(unknown)}")
    page.head("Variables that stand for an option")
    rows = ((name, *options[name]) for name in sorted(options))
    page.table(
        ("variable", "default", "meaning", "commands"),
        ((f"`{name}`", default, said, _named(users)) for name, default, said, users in rows),
    )
    page.head("Other variables")
    page.table(
        ("variable", "read by", "default", "meaning"),
        ((f"`{name}`", by, default(), said) for name, (by, default, said) in sorted(_VARIABLES.items())),
    )
    page.head("Variables of other programs that are respected")
    page.table(("variable", "meaning"), ((f"`{name.replace(', ', '`, `')}`", said) for name, said in _FOREIGN))
    return page.text()


def _named(users: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in users) if len(users) < 8 else f"{len(users)} commands"
