"""walpy: a PostgreSQL archiver that reads and writes WAL-G's archives."""

__version__ = "0.1.0"
