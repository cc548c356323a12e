"""Arguments of the daemon's messages, and what systemd is told."""

import pytest

from walpy.agent.daemon import parse_arguments
from walpy.agent.notify import WATCHDOG_SECONDS, Notifier
from walpy.errors import UsageError


def test_arguments_are_taken_apart() -> None:
    assert parse_arguments(b"\x02\x00\x01a\x00\x13pg_wal/RECOVERYXLOG") == ("a", "pg_wal/RECOVERYXLOG")


@pytest.mark.parametrize(
    "body", [b"", b"\x02", b"\x01\x00\x01a", b"\x02\x00\x01a\x00", b"\x02\x00\x01a\x00\x02b", b"\x03\x00\x01a\x00\x01b"]
)
def test_others_are_refused(body: bytes) -> None:
    with pytest.raises(UsageError):
        parse_arguments(body)


@pytest.mark.parametrize(("interval", "seconds"), [("2000000", 1.0), ("", WATCHDOG_SECONDS), ("0", WATCHDOG_SECONDS)])
def test_the_watchdog_is_fed_twice_as_often_as_systemd_wants(interval: str, seconds: float) -> None:
    assert Notifier({"WATCHDOG_USEC": interval}).watchdog_seconds == seconds
