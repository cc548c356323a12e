"""Reading a pgBackRest repository that lies at the archive's prefix: for whoever comes from there."""
