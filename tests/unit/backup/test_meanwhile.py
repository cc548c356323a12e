"""A call beside the caller."""

import threading

import pytest

from walpy.backup.meanwhile import meanwhile
from walpy.errors import BackupError


def test_what_it_gives() -> None:
    assert meanwhile(threading.current_thread).result(10) is not threading.current_thread()


def test_what_it_raises() -> None:
    def fail() -> None:
        raise BackupError("no names")

    with pytest.raises(BackupError, match="no names"):
        meanwhile(fail).result(10)


def test_nobody_waits_for_it() -> None:
    ended = threading.Event()
    future = meanwhile(ended.wait)
    assert not future.done()
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "wait")
    assert thread.daemon
    ended.set()
    assert future.result(10)
