"""Packets (RFC 9580, section 4.2): tags, headers and lengths in both formats, keyrings in memory, partial bodies."""

from collections.abc import Iterator
from typing import NamedTuple

from walpy.storage.base import Chunk

PKESK, SIGNATURE, SKESK, ONE_PASS, SECRET_KEY, PUBLIC_KEY, SECRET_SUBKEY = 1, 2, 3, 4, 5, 6, 7
COMPRESSED, UNPROTECTED, MARKER, LITERAL, TRUST, USER_ID, PUBLIC_SUBKEY = 8, 9, 10, 11, 12, 13, 14
USER_ATTRIBUTE, SEIPD, AEAD, PADDING = 17, 18, 20, 21
NONCRITICAL = range(40, 64)  # tags that a reader skips when it does not know them

STREAMED = frozenset({COMPRESSED, UNPROTECTED, LITERAL, SEIPD, AEAD})  # may have partial lengths
ENDLESS = 1 << 62  # bytes of a body whose length is that of what encloses it

PARTIAL_SIZE = 1 << 16  # bytes of each partial body that walpy writes
PARTIAL = b"\xf0"  # its length: 2 ** 16


class Length(NamedTuple):
    """A body's length: bytes that follow, whether another length follows them, and bytes of the length itself."""

    size: int
    partial: bool
    used: int


class Header(NamedTuple):
    """A packet's header; used: its bytes."""

    tag: int
    length: Length
    used: int


class Packet(NamedTuple):
    """A packet in memory."""

    tag: int
    body: bytes


def parse_header(head: bytes) -> Header | None:
    """The header at the front of head, None while more bytes are wanted. Raises ValueError for what is none."""
    if not head:
        return None
    first = head[0]
    if not first & 0x80:
        raise ValueError("tag byte does not have MSB set")
    tag = first & 0x3F if first & 0x40 else first >> 2 & 0xF
    if not tag:
        raise ValueError("packet tag 0 is reserved")
    length = parse_length(head[1:]) if first & 0x40 else _old_length(first & 3, head[1:])
    if length is None:
        return None
    if length.partial and tag not in STREAMED:
        raise ValueError(f"a packet with tag {tag} must not have a partial length")
    return Header(tag, length, 1 + length.used)


def parse_length(head: bytes) -> Length | None:
    """A length of the new format at the front of head, None while more bytes are wanted."""
    if not head:
        return None
    first = head[0]
    if first < 192:
        return Length(first, False, 1)
    if first >= 224 and first < 255:
        return Length(1 << (first & 0x1F), True, 1)
    if first < 224:
        return Length((first - 192 << 8) + head[1] + 192, False, 2) if len(head) > 1 else None
    return Length(int.from_bytes(head[1:5]), False, 5) if len(head) > 4 else None


def _old_length(kind: int, head: bytes) -> Length | None:
    if kind == 3:
        return Length(ENDLESS, False, 0)
    size = 1 << kind
    return Length(int.from_bytes(head[:size]), False, size) if len(head) >= size else None


def read_packets(data: bytes) -> Iterator[Packet]:
    """The packets of a keyring in memory. Raises ValueError when they are malformed or truncated."""
    position = 0
    while position < len(data):
        header = parse_header(data[position : position + 6])
        if header is None or header.length.partial:
            raise ValueError("the keys are truncated" if header is None else "a key has a partial length")
        start = position + header.used
        position = len(data) if header.length.size == ENDLESS else start + header.length.size
        if position > len(data):
            raise ValueError("the keys are truncated")
        yield Packet(header.tag, data[start:position])


def encode_length(size: int) -> bytes:
    """A definite length in the new format."""
    if size < 192:
        return bytes([size])
    if size < 8384:
        return bytes([(size - 192 >> 8) + 192, size - 192 & 0xFF])
    return b"\xff" + size.to_bytes(4)


def encode_packet(tag: int, body: bytes) -> bytes:
    """A packet with a definite length."""
    return bytes([0xC0 | tag]) + encode_length(len(body)) + body


class PartialBodies:
    """Writes one packet whose length is not known before its end, in partial bodies of PARTIAL_SIZE.

    A shorter one gets a definite length, as WAL-G's. Holds at most one partial body.
    """

    def __init__(self, tag: int, start: bytes) -> None:
        """start: the first bytes of the body."""
        self._head = bytes([0xC0 | tag])
        self._rest = bytearray(start)

    def feed(self, data: Chunk) -> list[Chunk]:
        """Take bytes of the body, give what is ready of the packet: parts, some of them views of data."""
        if len(self._rest) + len(data) < PARTIAL_SIZE:
            self._rest += data
            return []
        view = memoryview(data)
        missing = PARTIAL_SIZE - len(self._rest)
        parts: list[Chunk] = [self._head, PARTIAL, memoryview(self._rest), view[:missing]]
        while missing + PARTIAL_SIZE <= len(view):
            parts += (PARTIAL, view[missing : missing + PARTIAL_SIZE])
            missing += PARTIAL_SIZE
        self._head = b""
        self._rest = bytearray(view[missing:])
        return parts

    def finish(self) -> bytes:
        """The end of the packet."""
        return self._head + encode_length(len(self._rest)) + bytes(self._rest)
