"""Commands on data: import, export, schema, quarantine and dead letters."""
