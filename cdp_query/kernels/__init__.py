"""Free functions on arrays that answer questions; they know neither the store nor the plan.

Events come as in a chunk: rows u16 inside their morsel, offsets i64[morsels + 1]; results are by row of the partition.
"""
