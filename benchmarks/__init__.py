"""Named, seeded workloads measured against ourselves and against general engines on the same data."""
