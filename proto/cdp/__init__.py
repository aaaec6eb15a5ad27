"""The contract cdp.v1, generated from the .proto files here by proto/generate.py; never edited."""
