"""One HTTP connection to an S3 server, with what S3 needs and no more: http.client would cost 30 ms of every start.

Whatever is not plain (a redirect, an informational answer, a transfer coding that nobody asked for) raises WireError,
as does every failure of the connection: the caller then leaves the request to the SDK.
"""

import socket
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from threading import Event

TLS_MODULE = "walpy.storage.tls"  # imported for https alone

LARGEST_HEAD = 64 << 10  # bytes of an answer's head
LARGEST_LINE = 16 << 10  # bytes of the line before a chunk
RECEIVED_AT_ONCE = 16 << 10  # bytes, of what is small
MOST_HEADERS = 100
SEND_SIZE = 256 << 10  # bytes; the time-out holds for so many, so that a slow line is no failure
OK, NO_CONTENT, NOT_FOUND, PRECONDITION_FAILED = 200, 204, 404, 412
LARGEST_TEXT = 4 << 20  # bytes of an answer that is read whole: an error, a page of a listing


class WireError(Exception):
    """No usable answer."""


class Address(NamedTuple):
    """Where a server listens. ca_file: certificates to trust instead of the system's; empty: the system's."""

    is_tls: bool
    host: str
    port: int
    ca_file: str = ""


class Answer(NamedTuple):
    """Status and headers (names in lower case) of an answer. size: bytes of the body; None: it comes in chunks."""

    status: int
    headers: Mapping[str, str]
    size: int | None


class Connection:
    """A connection; serves one thread and one request at a time. Raises WireError when it cannot be made."""

    def __init__(self, address: Address, connect_timeout: float, read_timeout: float) -> None:
        try:
            self._socket = socket.create_connection((address.host, address.port), connect_timeout)
            try:
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                if address.is_tls:
                    self._socket = import_module(TLS_MODULE).secured(self._socket, address.host, address.ca_file)
                self._socket.settimeout(read_timeout)
            except BaseException:
                self._socket.close()
                raise
        except OSError as error:  # ssl.SSLError and time-outs are such
            raise WireError(f"no connection: {error}") from error
        self._received = bytearray()
        self._small = memoryview(bytearray(RECEIVED_AT_ONCE))
        self._rest: int | None = 0  # bytes of the body that were not read yet; None: nobody knows
        self._is_last = False  # the server closes the connection after the answer

    @property
    def is_idle(self) -> bool:
        """Whether the last answer was read to its end, and the next request may be sent."""
        return self._rest == 0 and not self._received and not self._is_last

    def request(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: memoryview | bytes = b"",
        cancel: "Event | None" = None,
    ) -> Answer:
        """Send a request; its answer, up to the body. Raises WireError, also when cancel is set meanwhile."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"{method} {target} HTTP/1.1\r\n{lines}content-length: {len(body)}\r\n\r\n"
        try:
            self._socket.sendall(head.encode("latin-1"))
            for start in range(0, len(body), SEND_SIZE):
                if cancel and cancel.is_set():
                    raise WireError("cancelled")
                self._socket.sendall(body[start : start + SEND_SIZE])
            answer = self._answer()
            if method == "HEAD":
                self._rest = 0
            return answer
        except (OSError, ValueError) as error:
            raise WireError(f"no answer: {error}") from error

    def read_into(self, buffer: memoryview) -> int:
        """Put the next bytes of a body of known size into a buffer; how many, 0 at its end. Raises WireError."""
        wanted = min(len(buffer), self._rest or 0)
        if self._received:
            count = min(wanted, len(self._received))
            buffer[:count] = self._received[:count]
            del self._received[:count]
        else:
            count = self._receive_into(buffer[:wanted]) if wanted else 0
        self._rest = (self._rest or 0) - count
        return count

    def read_all(self, answer: Answer) -> bytes:
        """The whole body of an answer, which has to be small. Raises WireError."""
        if answer.size is None:
            try:
                return self._read_chunked()
            except ValueError as error:
                raise WireError("malformed chunks") from error
        if answer.size > LARGEST_TEXT:
            raise WireError("a large answer where a small one was expected")
        self._rest = 0
        return self._take(answer.size)

    def close(self) -> None:
        """Close it, whatever is under way."""
        self._socket.close()

    def _answer(self) -> Answer:
        first, *lines = self._up_to(b"\r\n\r\n", LARGEST_HEAD).split("\r\n")
        version, status, *_ = first.split(" ", 2)
        if version != "HTTP/1.1" or not status.isdecimal() or int(status) < 200:
            raise WireError(f"not a plain answer: {version[:20]!r} {status[:20]!r}")
        if len(lines) > MOST_HEADERS:
            raise WireError("malformed headers")
        headers: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon:
                raise WireError("malformed headers")
            headers[name.lower()] = value.strip()
        self._rest = 0 if int(status) == NO_CONTENT else _body_size(headers)
        self._is_last = headers.get("connection", "").lower() == "close"
        return Answer(int(status), headers, self._rest)

    def _read_chunked(self) -> bytes:
        body = b""
        while size := int(self._line().partition(";")[0], 16):
            if len(body) + size > LARGEST_TEXT:
                raise WireError("a large answer where a small one was expected")
            body += self._take(size)
            self._line()
        while self._line():
            pass  # trailers
        self._rest = 0
        return body

    def _line(self) -> str:
        """The next line, without its end."""
        return self._up_to(b"\r\n", LARGEST_LINE)

    def _up_to(self, end: bytes, most: int) -> str:
        """What comes next, up to some bytes that end it, without them."""
        while (size := self._received.find(end)) < 0:
            if len(self._received) > most:
                raise WireError("a line without an end")
            self._receive_more()
        text = self._received[:size].decode("latin-1")
        del self._received[: size + len(end)]
        return text

    def _take(self, count: int) -> bytes:
        while len(self._received) < count:
            self._receive_more()
        data = bytes(self._received[:count])
        del self._received[:count]
        return data

    def _receive_more(self) -> None:
        self._received += self._small[: self._receive_into(self._small)]

    def _receive_into(self, buffer: memoryview) -> int:
        try:
            count = self._socket.recv_into(buffer)
        except OSError as error:
            raise WireError(f"the connection broke: {error}") from error
        if not count:
            raise WireError("the server closed the connection")
        return count


def _body_size(headers: Mapping[str, str]) -> int | None:
    """Bytes of a body; None: it comes in chunks. Raises WireError when the server does not say, or compresses."""
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return None
    text = headers.get("content-length", "")
    if not text.isdecimal() or "transfer-encoding" in headers or "content-encoding" in headers:
        raise WireError("a body of unknown length")
    return int(text)
