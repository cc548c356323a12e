"""The agent's side of one request: frames to the client, and the log lines of the threads that work for it."""

import logging
import os
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from walpy.client import HEARTBEAT, LOG

REQUEST_SECONDS = 5.0  # for a client to send its request, or to take an answer
LARGEST_REQUEST = 1 << 20  # bytes

_thread = threading.local()


class Connection:
    """A connected client. Safe for threads. A client that is gone is not an error: it will ask again, or not."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._lock = threading.Lock()
        connected.settimeout(REQUEST_SECONDS)

    def is_ours(self) -> bool:
        """Whether the client is a process of this user."""
        size = struct.calcsize("3i")
        credentials = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        return bool(struct.unpack("3i", credentials)[1] == os.geteuid())

    def receive(self) -> list[str]:
        """The words of the request; none for one that makes no sense. Raises OSError."""
        size = int.from_bytes(receive(self._socket, 4), "big")
        if not 0 < size <= LARGEST_REQUEST:
            return []
        return [os.fsdecode(word) for word in receive(self._socket, size).split(b"\0")]

    def send(self, kind: bytes, payload: bytes = b"") -> None:
        """Send one frame."""
        with self._lock:
            self._send(kind, payload)

    def send_line(self, line: str) -> None:
        """Send one log line."""
        self.send(LOG, os.fsencode(line + "\n"))

    def beat(self) -> None:
        """Tell the client that its request is being worked on; not while another frame is on its way."""
        if self._lock.acquire(blocking=False):
            try:
                self._send(HEARTBEAT, b"")
            finally:
                self._lock.release()

    def wait_for_end(self, seconds: float) -> None:
        """Return when the client has closed its end, or after so many seconds."""
        select.select([self._socket], [], [], seconds)

    def close(self) -> None:
        """Let the client go."""
        self._socket.close()

    def _send(self, kind: bytes, payload: bytes) -> None:
        with suppress(OSError):  # it is gone
            self._socket.sendall(kind + len(payload).to_bytes(4, "big") + payload)


def receive(connection: socket.socket, size: int) -> bytes:
    """The next size bytes of a client. Raises ConnectionError when it closes before, OSError."""
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise ConnectionError("the client is gone")
        data += part
    return data


class RequestHandler(logging.Handler):
    """Hands the lines of each thread to whom log_to names; lines of other threads go nowhere."""

    def emit(self, record: logging.LogRecord) -> None:
        """Format a record, and hand it on."""
        tell(self.format(record))


def tell(line: str) -> None:
    """Hand a formatted log line to the receiver of the calling thread."""
    receiver = getattr(_thread, "receiver", None)
    if receiver is not None:
        receiver(line)


@contextmanager
def log_to(receiver: Callable[[str], object]) -> Iterator[None]:
    """Hand the calling thread's log lines to a receiver while the context lasts."""
    _thread.receiver = receiver
    try:
        yield
    finally:
        _thread.receiver = None
