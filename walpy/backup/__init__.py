"""Base backups: the model, pushing, fetching, listing."""
