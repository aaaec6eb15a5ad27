"""Evaluation: the plan, and a mask of rows for each predicate."""
