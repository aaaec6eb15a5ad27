"""Reading files for `cdp import`: texts and their encodings, CSV, NDJSON, Parquet, and what tells a record again."""
