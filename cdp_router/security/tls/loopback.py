"""Addresses that only this machine reaches."""

from __future__ import annotations

import ipaddress


def is_loopback(host: str) -> bool:
    """True if only this machine reaches the host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def host_of_loopback(address: str) -> str:
    """The host of an address that only this machine reaches, as a number; empty for any other address."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    if not port.isdecimal() or not is_loopback(host):
        return ""
    return "127.0.0.1" if host == "localhost" else str(ipaddress.ip_address(host))
