"""Kernels of the compiled evaluator; a folder of their own, so that no other change compiles them anew."""
