"""The writers: batching and outcomes, in sync and async form."""
