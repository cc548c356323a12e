"""Fixtures of all tests live in tests/fixtures."""

import gc
import logging
import signal
from collections.abc import Iterator

import pytest

from walpy.logs import HANDLER_NAME

pytest_plugins = ["tests.fixtures.postgres", "tests.fixtures.clock", "tests.fixtures.failover", "tests.fixtures.killed"]

# Under nohup SIGHUP is ignored, and so it would be in every command that a test starts. A handler is not inherited.
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """What a command that ran in this process did to the logging ends with its test."""
    loggers = [logging.getLogger(), logging.getLogger("walpy")]
    levels, disabled = [logger.level for logger in loggers], logging.root.manager.disable
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
    logging.disable(disabled)
    for handler in [handler for handler in logging.root.handlers if handler.get_name() == HANDLER_NAME]:
        logging.root.removeHandler(handler)


@pytest.fixture(autouse=True)
def collector_as_it_was() -> Iterator[None]:
    """A command that ran in this process makes it look more seldom for garbage, whose end a test may count on."""
    threshold = gc.get_threshold()
    yield
    gc.set_threshold(*threshold)
