"""Encryption alone: every cipher in memory beside its primitives, beside gpg, and over streams larger than 4 GiB."""
