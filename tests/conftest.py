"""Fixtures of all tests live in tests/fixtures."""

import signal

pytest_plugins = ["tests.fixtures.postgres", "tests.fixtures.failover", "tests.fixtures.killed"]

# Under nohup SIGHUP is ignored, and so it would be in every command that a test starts. A handler is not inherited.
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)
