"""PostgreSQL's two sides: the server (SQL) and the data directory (files, pages)."""
