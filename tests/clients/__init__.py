"""Libraries of other languages against the gateway; `make test-clients` installs and runs them."""
