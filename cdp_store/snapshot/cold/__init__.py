"""Cold columns: what a record brought that no question asks for, kept in files only (FORMAT.md, Cold files)."""
