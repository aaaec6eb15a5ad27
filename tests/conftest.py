"""Settings of the property tests; everything else stands beside the tests that use it."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# Kernels compile on first use, so time says nothing about a single example.
settings.register_profile(
    "ci", deadline=None, derandomize=False, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ci")
