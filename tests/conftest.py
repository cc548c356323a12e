"""Fixtures of all tests live in tests/fixtures."""

pytest_plugins = ["tests.fixtures.postgres"]
