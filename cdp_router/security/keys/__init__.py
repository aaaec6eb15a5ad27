"""API keys: their form, their file, changes of their list, and their rates."""
