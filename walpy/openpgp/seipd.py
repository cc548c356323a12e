"""Version 1 of encrypted data with integrity protection: CFB, and SHA-1 of the content (RFC 9580, section 5.13.1)."""

import hashlib
import hmac
import os
from collections.abc import Iterator, Sequence

from walpy.errors import DataCorrupt
from walpy.openpgp.algorithms import SymmetricCipher
from walpy.openpgp.packets import LITERAL, SEIPD, PartialBodies
from walpy.openpgp.stream import PartsSink, Sink
from walpy.storage.base import Chunk

VERSION = b"\x01"
SLICE_SIZE = 256 << 10  # bytes that go through CFB and SHA-1 at once: they stay in the processor's cache
WRITE_SIZE = 1 << 20  # bytes encrypted before they are put together
MDC_HEAD = b"\xd3\x14"
MDC_SIZE = 22  # bytes: its head and the digest

# Format, empty name, no date. WAL-G writes `u`, for text, of which gpg drops every carriage return; all read `b`.
LITERAL_START = b"b" + bytes(5)


class SeipdReader(PartsSink):
    """Sink of the packet's body behind its version: decrypts it and gives what inner makes of the content.

    The digest is compared before inner is closed. Memory: SLICE_SIZE.
    """

    def __init__(self, cipher: SymmetricCipher, key: bytes, inner: Sink) -> None:
        self._decryptor = cipher.cfb(key).decryptor()
        self._block_size = cipher.block_size
        self._inner = inner
        self._digest = hashlib.sha1(usedforsecurity=False)
        self._prefix_left = cipher.block_size + 2  # random bytes, the last two of them twice
        # What may be the digest stays at the front of the buffer; new bytes are decrypted behind it.
        self._buffer = bytearray(MDC_SIZE + SLICE_SIZE + cipher.block_size)
        self._held = 0

    def feed_parts(self, parts: Sequence[Chunk]) -> Iterator[bytes]:
        """Take chunks of the body: each is decrypted from where it lies, and SLICE_SIZE bytes are handed on at once."""
        buffer = memoryview(self._buffer)
        size = self._held
        for part in parts:
            view = memoryview(part)
            while len(view):
                taken = view[: SLICE_SIZE + MDC_SIZE - size]
                size += self._decryptor.update_into(taken, buffer[size:])
                view = view[len(taken) :]
                if size == SLICE_SIZE + MDC_SIZE:
                    yield from self._hand_on(size)
                    size = self._held
        yield from self._hand_on(size)

    def close(self) -> Iterator[bytes]:
        """Compare the digest, and give the rest. Raises DataCorrupt."""
        if self._held < MDC_SIZE or self._prefix_left:
            raise DataCorrupt("the OpenPGP data are truncated")
        tail = bytes(self._buffer[:MDC_SIZE])
        self._digest.update(MDC_HEAD)
        if not hmac.compare_digest(tail, MDC_HEAD + self._digest.digest()):
            raise DataCorrupt("the OpenPGP data are damaged: their modification detection code is wrong")
        yield from self._inner.close()

    def _hand_on(self, size: int) -> Iterator[bytes]:
        """What cannot be the digest, of so many bytes in the buffer."""
        view = memoryview(self._buffer)
        ready = max(size - MDC_SIZE, 0)
        self._digest.update(view[:ready])
        prefix = min(self._prefix_left, ready)
        self._prefix_left -= prefix
        if ready > prefix:
            yield from self._inner.feed(view[prefix:ready])
        self._held = size - ready
        self._buffer[: self._held] = bytes(view[ready:size])


class SeipdWriter:
    """Writes the packet with one literal packet inside, as WAL-G does, both in partial bodies. Memory: two slices."""

    def __init__(self, cipher: SymmetricCipher, key: bytes) -> None:
        self._encryptor = cipher.cfb(key).encryptor()
        self._digest = hashlib.sha1(usedforsecurity=False)
        self._buffer = memoryview(bytearray(WRITE_SIZE + (128 << 10)))  # a slice, what was held back, lengths
        self._packet = PartialBodies(SEIPD, VERSION)
        self._literal = PartialBodies(LITERAL, LITERAL_START)
        random = os.urandom(cipher.block_size)
        self._start: list[Chunk] = [random + random[-2:]]

    def update(self, data: Chunk) -> bytes:
        """Encrypt a chunk."""
        view = memoryview(data)
        slices = (view[start : start + WRITE_SIZE] for start in range(0, len(view), WRITE_SIZE))
        return b"".join([self._encrypt(self._literal.feed(item)) for item in slices])

    def finish(self) -> bytes:
        """End both packets."""
        rest = self._encrypt([self._literal.finish(), MDC_HEAD])
        return rest + self._encrypt([self._digest.digest()]) + self._packet.finish()

    def _encrypt(self, parts: list[Chunk]) -> bytes:
        """Encrypt parts of at most 64 KiB, each while the processor's cache still has it from the digest."""
        if not parts:
            return b""
        parts, self._start = self._start + parts, []
        size = 0
        for part in parts:
            self._digest.update(part)
            size += self._encryptor.update_into(part, self._buffer[size:])
        return b"".join(self._packet.feed(self._buffer[:size]))
