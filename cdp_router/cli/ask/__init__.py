"""Commands that ask: questions, segments and single profiles."""
