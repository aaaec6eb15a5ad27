"""The library of documents; `generate` writes those that are read from the code."""
