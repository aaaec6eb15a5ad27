"""Reports of a process about itself: metrics, logs, traces, slow questions. Nothing here names people or their data."""
