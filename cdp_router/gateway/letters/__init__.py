"""Dead letters: rejected records, their files, bounds and redrive."""
