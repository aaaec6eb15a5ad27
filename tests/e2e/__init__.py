"""Tests through real processes: clusters started with `cdp up`, spoken to over gRPC and the command line."""
