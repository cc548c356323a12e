"""Benchmarks: they print ratios and bounds, and assert nothing about time."""
