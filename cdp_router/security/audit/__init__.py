"""The audit: what it keeps, its files and lines, and the check of them."""
