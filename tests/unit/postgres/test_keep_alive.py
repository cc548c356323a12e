"""The thread that keeps a connection busy."""

import threading

import pytest

from walpy.errors import PostgresError
from walpy.postgres.keep_alive import KeepAlive


class ServerLostAfter:
    """Answers some pings, then no more."""

    def __init__(self, pings: int) -> None:
        self.left = pings
        self.lost = threading.Event()
        self.pinged = threading.Event()

    def ping(self) -> None:
        self.pinged.set()
        if self.left == 0:
            self.lost.set()
            raise PostgresError("server closed the connection")
        self.left -= 1


def test_a_lost_server_is_reported() -> None:
    server = ServerLostAfter(3)
    with KeepAlive(server, 0.001) as keep_alive:
        keep_alive.check()
        assert server.lost.wait(10)
        keep_alive._thread.join(10)
        with pytest.raises(PostgresError, match="closed the connection"):
            keep_alive.check()


def test_no_interval_means_no_pings() -> None:
    server = ServerLostAfter(0)
    with KeepAlive(server, 0) as keep_alive:
        assert not keep_alive._thread.is_alive()
        keep_alive.check()
    assert not server.pinged.is_set()


def test_pings_end_with_the_context() -> None:
    server = ServerLostAfter(1 << 60)
    with KeepAlive(server, 0.001) as keep_alive:
        assert server.pinged.wait(10)
    keep_alive._thread.join(10)
    assert not keep_alive._thread.is_alive()
