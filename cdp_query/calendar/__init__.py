"""Windows, periods and local time."""
