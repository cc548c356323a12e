"""DARE: data at rest encryption, the stream behind the header of WAL-G's KMS modes.

A package has a header of 16 bytes (version; cipher: 0 AES-256-GCM, 1 ChaCha20-Poly1305; LE16 payload size - 1; 12 bytes
of nonce), up to 64 KiB of ciphertext, and a tag of 16 bytes; the first four bytes of the header are authenticated with
it. All packages but the last are full.

Version 2.0 (0x20): the nonce is the same in all packages but for its first bit, which marks the last; what encrypts is
that nonce with its last four bytes (LE32) xored with the package's number. Version 1.0 (0x10, read only): LE32 number,
8 bytes that are the same in all; nothing marks the last package, so that a cut between two is noticed by the codec, if
at all. Source: github.com/minio/sio, DARE.md; behaviour of sio 0.5, which WAL-G uses.

Memory: as in frames.
"""

import os
from collections.abc import Iterator
from struct import Struct
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from walpy.errors import DataCorrupt, WalpyError
from walpy.storage.base import Chunk
from walpy.stream import cipher
from walpy.stream.frames import Frames, Output

KEY_SIZE: Final = 32  # bytes
PAYLOAD_SIZE: Final = 64 << 10  # bytes of a full package
HEADER_SIZE: Final = 16  # bytes
TAG_SIZE: Final = 16  # bytes
PACKAGE_SIZE: Final = HEADER_SIZE + PAYLOAD_SIZE + TAG_SIZE
VERSION_10: Final = 0x10
VERSION_20: Final = 0x20
VERSIONS: Final = (VERSION_10, VERSION_20)
PIECE_PACKAGES: Final = 4  # in a piece of what is decrypted
MOST_PACKAGES: Final = 1 << 32  # 256 TiB: then nonces would repeat

_LAST = 0x80  # bit of the nonce's first byte
_NONCE_SIZE = 12
_HEADER = Struct("<BBH12s")
_OTHER_KEY = "Either it is damaged, or its data key is not the one that the key service gave."


class Aead(Protocol):
    """What encrypts a package: AESGCM and ChaCha20Poly1305 of cryptography."""

    def encrypt_into(self, nonce: Chunk, data: Chunk, associated_data: Chunk | None, buf: memoryview) -> int: ...

    def decrypt_into(self, nonce: Chunk, data: Chunk, associated_data: Chunk | None, buf: memoryview) -> int: ...


AEADS: Final = (AESGCM, ChaCha20Poly1305)  # by the number in the header


class Encryptor:
    """Encrypts one stream as DARE 2.0. key: 32 bytes, for this stream alone. head: bytes to put before it.

    cipher: number of the algorithm; AES has instructions of its own on the machines that run databases.
    """

    def __init__(self, key: bytes, head: bytes = b"", *, cipher: int = 0) -> None:
        self._aead: Aead = AEADS[cipher](key)
        self._cipher = cipher
        nonce = os.urandom(_NONCE_SIZE)
        self._nonce = bytes([nonce[0] & ~_LAST]) + nonce[1:]
        self._number = 0
        self._head = head
        self._frames = Frames(PAYLOAD_SIZE, holds_last=True)
        self._output = Output()

    def update(self, chunk: Chunk) -> Chunk:
        """Encrypt a chunk, as far as it fills packages; the result is valid until the next call."""
        out = self._output.room(len(self._head) + self._frames.count(chunk) * PACKAGE_SIZE)
        size = self._put_head(out)
        for run in self._frames.runs(chunk):
            size = self._seal(run, out, size, self._nonce)
        return out[:size]

    def finish(self) -> Chunk:
        """The last package. Raises WalpyError when there was no byte: the format has no stream of nothing."""
        rest = self._frames.rest()
        if not rest:
            raise WalpyError(
                "an empty object cannot be encrypted in this format",
                "With a WALG_COMPRESSION_METHOD other than none no object is empty.",
            )
        out = self._output.room(len(self._head) + PACKAGE_SIZE)
        size = self._seal(rest, out, self._put_head(out), bytes([self._nonce[0] | _LAST]) + self._nonce[1:])
        return out[:size]

    def _put_head(self, out: memoryview) -> int:
        head, self._head = self._head, b""
        out[: len(head)] = head
        return len(head)

    def _seal(self, run: memoryview, out: memoryview, place: int, field: bytes) -> int:
        """Write packages of a run to a place in out: full ones, or one alone; the place behind them."""
        count = -(-len(run) // PAYLOAD_SIZE)
        if self._number + count > MOST_PACKAGES:
            raise WalpyError("an object of 256 TiB cannot be encrypted in this format")
        header = _HEADER.pack(VERSION_20, self._cipher, min(len(run), PAYLOAD_SIZE) - 1, field)
        associated, start, number = header[:4], field[:8], int.from_bytes(field[8:], "little")
        seal = self._aead.encrypt_into  # what is done for each package takes a fifth of the time that AES-GCM takes
        for index in range(count):
            payload = run[index * PAYLOAD_SIZE : (index + 1) * PAYLOAD_SIZE]
            body = place + HEADER_SIZE
            out[place:body] = header
            place = body + len(payload) + TAG_SIZE
            nonce = start + (number ^ self._number).to_bytes(4, "little")
            seal(nonce, payload, associated, out[body:place])
            self._number += 1
        return place


class Decryptor(cipher.Decryptor):
    """Decrypts one stream of either version and cipher."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._aead: Aead | None = None
        self._kind = (0, 0)  # version and cipher, of all packages
        self._field = b""  # what all nonces share
        self._usual = b""  # the header of all packages of version 2.0 but the last, which need no second look
        self._number = 0
        self._is_ended = False
        self._frames = Frames(PACKAGE_SIZE)
        self._output = Output()

    def update(self, chunk: Chunk) -> Chunk:
        """Decrypt a chunk, as far as it fills packages; the result is valid until the next call. Raises DataCorrupt."""
        out = self._output.room(self._frames.count(chunk) * PAYLOAD_SIZE)
        size = 0
        for run in self._frames.runs(chunk):
            size += self._open_run(run, out[size:])
        return out[:size]

    def pieces(self, chunk: Chunk) -> Iterator[Chunk]:
        """As update, in pieces of a few packages, which are still in the processor's cache when they are used."""
        out = self._output.room(PIECE_PACKAGES * PAYLOAD_SIZE)
        for run in self._frames.runs(chunk):
            for start in range(0, len(run), PIECE_PACKAGES * PACKAGE_SIZE):
                yield out[: self._open_run(run[start : start + PIECE_PACKAGES * PACKAGE_SIZE], out)]

    def finish(self) -> Chunk:
        """The last package, when it is not full. Raises DataCorrupt when the stream lacks its end."""
        rest = self._frames.rest()
        out = self._output.room(PAYLOAD_SIZE)
        size = self._open(rest, out) if rest else 0
        if not self._number:
            raise DataCorrupt("no encrypted data (DARE)")
        if not self._is_ended and self._kind[0] == VERSION_20:
            raise DataCorrupt("the encrypted data (DARE) are truncated")
        return out[:size]

    def _open_run(self, run: memoryview, out: memoryview) -> int:
        """Decrypt full packages; bytes of their payload."""
        size = 0
        for start in range(0, len(run), PACKAGE_SIZE):
            size += self._open(run[start : start + PACKAGE_SIZE], out[size:])
        return size

    def _open(self, package: memoryview, out: memoryview) -> int:
        """Decrypt a package, which is full or the rest of the stream; bytes of its payload."""
        if self._is_ended:
            raise DataCorrupt("other data follow the encrypted data (DARE)")
        size = len(package) - HEADER_SIZE - TAG_SIZE
        if size < 1:
            raise DataCorrupt("the encrypted data (DARE) are truncated")
        header = bytes(package[:HEADER_SIZE])
        if header == self._usual and size == PAYLOAD_SIZE and self._number < MOST_PACKAGES:
            nonce = _nonce_of(header[4:], self._number)
        else:
            nonce = self._check(header, size)
        assert self._aead is not None
        try:
            self._aead.decrypt_into(nonce, package[HEADER_SIZE:], header[:4], out[:size])
        except InvalidTag:
            raise self._damaged("is not authentic") from None
        self._number += 1
        return size

    def _check(self, header: bytes, size: int) -> bytes:
        """The nonce, if the header is one of this stream. size: bytes of the payload as they lie there."""
        version, cipher, size_field, field = _HEADER.unpack(header)
        if self._aead is None:
            self._begin(version, cipher, field)
        nonce = self._checked_nonce(version, cipher, field)
        if size_field + 1 != size:
            raise self._damaged("has another size than the stream has left for it")
        if version == VERSION_20 and not self._is_ended:
            self._usual = header
        return nonce

    def _begin(self, version: int, cipher: int, field: bytes) -> None:
        if version not in VERSIONS or cipher >= len(AEADS):
            raise DataCorrupt(f"no encrypted data (DARE): they begin with {bytes((version, cipher)).hex()}")
        self._kind = version, cipher
        self._field = _shared(version, field)
        self._aead = AEADS[cipher](self._key)

    def _checked_nonce(self, version: int, cipher: int, field: bytes) -> bytes:
        if (version, cipher) != self._kind or _shared(version, field) != self._field:
            raise self._damaged("is not of this stream")
        if self._number == MOST_PACKAGES:
            raise self._damaged("is one too many")
        if version == VERSION_20:
            self._is_ended = bool(field[0] & _LAST)
            return _nonce_of(field, self._number)
        if int.from_bytes(field[:4], "little") != self._number:
            raise self._damaged("is out of order")
        return field

    def _damaged(self, what: str) -> DataCorrupt:
        return DataCorrupt(f"package {self._number} of the encrypted data (DARE) {what}", _OTHER_KEY)


def _shared(version: int, field: bytes) -> bytes:
    """What a nonce field has in common with all others of its stream."""
    return field[4:] if version == VERSION_10 else bytes([field[0] & ~_LAST]) + field[1:]


def _nonce_of(field: bytes, number: int) -> bytes:
    """Nonce of a package of version 2.0."""
    return field[:8] + (int.from_bytes(field[8:], "little") ^ number).to_bytes(4, "little")
