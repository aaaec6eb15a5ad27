"""Settings of a process's reports, by environment variables, which children of `cdp up` inherit."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cdp_router.errors import RequestInvalid
from cdp_router.limits import DEFAULT_PORT, GATEWAY_PORT, SLOW_QUERY_MS_DEFAULT

METRICS: Final = "CDP_METRICS"
ACCESS_LOG: Final = "CDP_ACCESS_LOG"
SLOW_QUERY_MS: Final = "CDP_SLOW_QUERY_MS"
TRACES: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
PORT_MAX: Final = 65_535


@dataclass(frozen=True, slots=True)
class Settings:
    """`metrics` is the address of the router's; shard k uses the port k + 1 higher, and 0 takes any free one."""

    metrics: tuple[str, int] | None = None
    access_log: bool = False
    slow_query_ms: float = SLOW_QUERY_MS_DEFAULT
    traces: bool = False

    @staticmethod
    def from_environment(environment: Mapping[str, str] = os.environ) -> Settings:
        """The settings of an environment; RequestInvalid names the variable without a meaning."""
        return Settings(
            _address(environment.get(METRICS, "")),
            environment.get(ACCESS_LOG, "") not in ("", "0"),
            _milliseconds(environment.get(SLOW_QUERY_MS, "")),
            any(environment.get(name) for name in TRACES),
        )

    def metrics_of_router(self, number: int) -> tuple[str, int] | None:
        """Address of a router's metrics: one more than the first uses the port that many lower."""
        if self.metrics is None:
            return None
        host, port = self.metrics
        return host, max(1, port - number) if port else 0

    def metrics_of_gateway(self) -> tuple[str, int] | None:
        """Address of the gateway's metrics: as far above the router's as it listens above the router."""
        if self.metrics is None:
            return None
        host, port = self.metrics
        return host, min(PORT_MAX, port + GATEWAY_PORT - DEFAULT_PORT) if port else 0

    def metrics_of_shard(self, shard: int) -> tuple[str, int] | None:
        """Address of a shard's metrics."""
        if self.metrics is None:
            return None
        host, port = self.metrics
        return host, port + 1 + shard if port else 0


def _address(text: str) -> tuple[str, int] | None:
    if not text:
        return None
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > PORT_MAX:
        raise RequestInvalid(METRICS, f"{text!r} is no host:port, such as 127.0.0.1:9464")
    return host, int(port)


def _milliseconds(text: str) -> float:
    try:
        return float(text) if text else SLOW_QUERY_MS_DEFAULT
    except ValueError:
        raise RequestInvalid(SLOW_QUERY_MS, f"{text!r} is no number of milliseconds") from None
