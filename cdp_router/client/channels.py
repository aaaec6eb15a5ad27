"""Channel options of the clients: retries, message sizes, keepalive pings."""

from __future__ import annotations

from importlib import resources
from typing import Final

from cdp_router.limits import MESSAGE_BYTES_MAX

HEALTH: Final = "/grpc.health.v1.Health/Check"
OPTIONS: Final = (
    ("grpc.service_config", (resources.files("cdp.v1") / "service_config.json").read_text()),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # A router that vanished without closing the connection is noticed while a call waits for it.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)
