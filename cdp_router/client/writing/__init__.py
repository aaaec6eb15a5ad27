"""The writer: batching and outcomes, in sync and async form."""
