"""What a failed push does last: it takes back what it stored, for a limited time."""

import threading
from collections.abc import Iterator

import pytest

from walpy.backup import unfinished
from walpy.errors import BackupError, DataCorrupt, StorageUnavailable, WalpyError


class Server:
    """Notes that its connection was closed."""

    closed = False

    def close(self) -> None:
        self.closed = True


class Stored:
    """A stored backup whose removal hangs until it is released, or fails."""

    name = "base_x"

    def __init__(self, error: WalpyError | None = None) -> None:
        self.released = threading.Event()
        self.discarded = threading.Event()
        self._error = error

    def claim(self) -> None:
        """The name is free."""

    def discard(self) -> None:
        self.released.wait()
        self.discarded.set()
        if self._error is not None:
            raise self._error


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stored]:
    monkeypatch.setattr(unfinished, "CLEAN_UP_SECONDS", 0.05)
    backup = Stored()
    yield backup
    backup.released.set()
    assert backup.discarded.wait(10)


def fail(server: Server, backup: Stored, error: WalpyError) -> None:
    with pytest.raises(type(error)), unfinished.unfinished(backup, server.close):  # type: ignore[arg-type]
        raise error


def test_a_storage_that_hangs_is_not_waited_for_twice(stored: Stored, caplog: pytest.LogCaptureFixture) -> None:
    server = Server()
    fail(server, stored, StorageUnavailable("no answer for five minutes"))
    assert server.closed
    assert "What was stored of backup base_x could not be removed" in caplog.text


def test_any_other_failure_takes_its_time(stored: Stored, caplog: pytest.LogCaptureFixture) -> None:
    timer = threading.Timer(0.2, stored.released.set)
    timer.start()
    fail(Server(), stored, DataCorrupt("a page"))
    assert stored.discarded.is_set()
    assert caplog.text == ""
    timer.join()


def test_a_removal_that_fails_is_told(caplog: pytest.LogCaptureFixture) -> None:
    backup = Stored(StorageUnavailable("gone"))
    backup.released.set()
    fail(Server(), backup, BackupError("a reason"))
    assert "base_x could not be removed" in caplog.text
    assert caplog.text.rstrip().endswith("gone")
