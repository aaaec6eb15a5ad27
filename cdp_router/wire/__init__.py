"""Protobuf messages to our types and back; with the services, the only importers of generated code."""
