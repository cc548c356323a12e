"""What is archived: PostgreSQL clusters, WAL segments by kind, small files; made once and kept."""
