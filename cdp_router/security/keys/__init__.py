"""API keys: their form, their file, changes of their list, and how much each may be used."""
