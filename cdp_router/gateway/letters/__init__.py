"""Dead letters: records that could not be taken, their files, bounds and redrive."""
