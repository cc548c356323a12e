"""Bodies between sockets and files, moved by the kernel where the framing allows it."""

import fcntl
import os
import socket
from pathlib import Path

from benchmarks.sink.store import Held, Piece

PIPE_SIZE = 1 << 20  # bytes; what an unprivileged process may ask for
READ_SIZE = 1 << 16


class Reader:
    """Bytes of one connection: lines and counted bytes, through one buffer."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._buffer = b""
        self._pipe = os.pipe()
        fcntl.fcntl(self._pipe[1], fcntl.F_SETPIPE_SZ, PIPE_SIZE)

    def close(self) -> None:
        """Close the pipe; the socket is its owner's."""
        for descriptor in self._pipe:
            os.close(descriptor)

    def line(self) -> bytes:
        """One line without its end; empty at the end of the stream too."""
        return self.until(b"\r\n")

    def until(self, end: bytes) -> bytes:
        """Bytes before `end`, which is consumed; empty when the stream ends first."""
        while end not in self._buffer:
            more = self._socket.recv(READ_SIZE)
            if not more:
                return b""
            self._buffer += more
        found, _, self._buffer = self._buffer.partition(end)
        return found

    def read(self, size: int) -> bytes:
        """Exactly size bytes. Raises ConnectionError when the stream ends first."""
        while len(self._buffer) < size:
            more = self._socket.recv(max(READ_SIZE, size - len(self._buffer)))
            if not more:
                raise ConnectionError("body ends early")
            self._buffer += more
        found, self._buffer = self._buffer[:size], self._buffer[size:]
        return found

    def into_file(self, path: Path, size: int) -> Piece:
        """Move a body of size bytes into a new file, without a copy in this process."""
        with path.open("wb", buffering=0) as file:
            left = size - file.write(self.read(min(size, len(self._buffer))))
            while left:
                moved = os.splice(self._socket.fileno(), self._pipe[1], min(left, PIPE_SIZE))
                if not moved:
                    raise ConnectionError("body ends early")
                left -= moved
                while moved:
                    moved -= os.splice(self._pipe[0], file.fileno(), moved)
        return Piece(path, size)

    def chunked_into_file(self, path: Path) -> Piece:
        """Decode a chunked body, HTTP's or AWS's (whose size lines carry a signature), into a new file."""
        size = 0
        with path.open("wb", buffering=0) as file:
            while chunk_size := int(self.line().partition(b";")[0], 16):
                size += file.write(self.read(chunk_size))
                self.line()
            while self.line():  # trailers, and the empty line behind them
                pass
        return Piece(path, size)


def send(connection: socket.socket, held: Held, start: int, size: int) -> None:
    """Send size bytes of an object from start on."""
    for piece in held.pieces:
        if start < piece.size and size:
            count = min(piece.size - start, size)
            with piece.path.open("rb") as file:
                connection.sendfile(file, start, count)
            size -= count
            start = 0
        else:
            start = max(0, start - piece.size)


def requested_range(text: str, size: int) -> tuple[int, int] | None:
    """(start, size) of a Range header for an object of size bytes; None when it lies outside.

    text: `bytes=FIRST-`, `bytes=FIRST-LAST` or `bytes=-COUNT`.
    """
    first, _, last = text.removeprefix("bytes=").partition("-")
    if not first:
        count = min(int(last), size)
        return (size - count, count) if count else None
    start = int(first)
    end = min(int(last), size - 1) if last else size - 1
    return (start, end - start + 1) if start <= end else None
