"""Archiving and restoring write-ahead log files."""
