"""Keeps a backup's connection busy, and notices when it breaks."""

import threading
from types import TracebackType
from typing import Protocol, Self

from walpy.errors import PostgresError


class Pinged(Protocol):
    """What KeepAlive needs of a server."""

    def ping(self) -> None:
        """Ask for a sign of life. Raises PostgresError."""
        ...


class KeepAlive:
    """Pings a server from a thread of its own, while the context lasts.

    Firewalls drop connections that are silent for long, and a backup whose connection is gone is lost: better to know
    than to copy on. interval_seconds: WALG_ALIVE_CHECK_INTERVAL; 0 never pings.
    """

    def __init__(self, server: Pinged, interval_seconds: float) -> None:
        self._server = server
        self._interval_seconds = interval_seconds
        self._ended = threading.Event()
        self._failure: PostgresError | None = None
        self._thread = threading.Thread(target=self._run, name="keep-alive", daemon=True)

    def __enter__(self) -> Self:
        if self._interval_seconds > 0:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()  # no join: a ping may hang in a dead network, and the thread is a daemon

    def check(self) -> None:
        """Raise the PostgresError that a ping met. Cheap: call it as often as there is something to report."""
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        while not self._ended.wait(self._interval_seconds):
            try:
                self._server.ping()
            except PostgresError as error:
                if not self._ended.is_set():
                    self._failure = error
                return
