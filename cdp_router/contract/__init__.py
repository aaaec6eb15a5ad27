"""The wire contract: messages to our types and back, and the status of each error."""
