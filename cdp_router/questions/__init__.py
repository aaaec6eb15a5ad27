"""The path of a question: read, scattered, merged, answered."""
