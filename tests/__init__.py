"""Tests of all packages; oracle.py is the executable specification."""
