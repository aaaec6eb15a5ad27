"""Snapshots: a list of immutable Parquet files and a manifest. FORMAT.md describes them."""
