"""The shard's log: every acked batch, in order, before it is applied. FORMAT.md describes the bytes."""
