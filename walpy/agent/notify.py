"""Tells systemd how the daemon does. Source: sd_notify(3), systemd.service(5): Type=notify, WatchdogSec."""

import contextlib
import socket
import time
from collections.abc import Mapping

WATCHDOG_SECONDS = 30.0  # as WAL-G, when systemd names no interval
SEND_SECONDS = 5.0  # for a state, when nobody reads them: the daemon serves, and ends, all the same


class Notifier:
    """Sends states to the socket that NOTIFY_SOCKET of environ names; to nowhere when there is none."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "").replace("@", "\0", 1)
        interval = environ.get("WATCHDOG_USEC", "")
        self.watchdog_seconds = int(interval) / 2e6 if interval.isdigit() and int(interval) else WATCHDOG_SECONDS

    def ready(self) -> None:
        """Requests are served."""
        self._send("READY=1")

    def reloading(self) -> None:
        """Settings are being read anew; ready() ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def alive(self) -> None:
        """Keep the watchdog quiet; due every watchdog_seconds."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """No further request is served."""
        self._send("STOPPING=1")

    def _send(self, state: str) -> None:
        if self._address:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
                notify.settimeout(SEND_SECONDS)
                notify.sendto(state.encode(), self._address)
