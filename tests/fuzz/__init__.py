"""Fuzzing of everything that reads encrypted objects: `python -m tests.fuzz --help`, docs/fuzzing.md."""
