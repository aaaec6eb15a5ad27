"""Reading of files for `cdp import`: texts and their encodings, CSV, NDJSON, Parquet, and ids that identify records
again.
"""
