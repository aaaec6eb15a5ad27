"""Cold columns: parts of records that no question needs, kept in files only (FORMAT.md, Cold files)."""
