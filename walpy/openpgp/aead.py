"""Authenticated encryption in chunks, for reading: version 2 of SEIPD (RFC 9580, section 5.13.2), and the packet with
tag 20 that gpg writes since 2.3 (draft-koch-librepgp, section 5.16).
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESOCB3
from cryptography.hazmat.primitives.cmac import CMAC
from cryptography.hazmat.primitives.constant_time import bytes_eq
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from walpy.errors import DataCorrupt
from walpy.openpgp.algorithms import (
    AEAD_NAMES,
    AES_CIPHERS,
    CIPHERS,
    EAX,
    GCM,
    NONCE_SIZES,
    OCB,
    SymmetricCipher,
    cipher_name,
)
from walpy.openpgp.stream import PartsSink, Sink
from walpy.storage.base import Chunk

TAG_SIZE = 16  # bytes
LARGEST_CHUNK = 16  # its exponent: 2 ** (16 + 6) bytes, 4 MiB; RFC 9580 allows no larger one, and gpg writes this
SALT_SIZE = 32  # bytes, of version 2

Open = Callable[[bytes, Chunk, bytes], bytes]  # nonce, ciphertext with tag, additional data → plain


class Parameters(NamedTuple):
    """How a packet is encrypted: number of the cipher, of the mode, and the exponent of the chunk size."""

    cipher: int
    mode: int
    chunk: int

    @property
    def chunk_size(self) -> int:
        """Plain bytes of every chunk but the last."""
        return 1 << (self.chunk + 6)


def parameters(fields: bytes) -> Parameters:
    """From the three bytes behind the packet's version. Raises DataCorrupt for what cannot be read."""
    found = Parameters(*fields)
    if found.mode not in AEAD_NAMES or found.cipher not in AES_CIPHERS:
        how = AEAD_NAMES.get(found.mode, f"mode {found.mode}")
        raise DataCorrupt(f"the OpenPGP data are encrypted with {cipher_name(found.cipher)} in {how}: not supported")
    if found.chunk > LARGEST_CHUNK:
        raise DataCorrupt("the OpenPGP data have chunks of more than 4 MiB")
    return found


def opener(mode: int, cipher: SymmetricCipher, key: bytes) -> Open:
    """Opens one authenticated chunk; raises InvalidTag."""
    if mode == GCM:
        return AESGCM(key).decrypt
    if mode == OCB:
        return AESOCB3(key).decrypt
    assert mode == EAX
    return lambda nonce, data, associated: open_eax(cipher, key, nonce, data, associated)


def open_eax(cipher: SymmetricCipher, key: bytes, nonce: bytes, data: Chunk, associated: bytes) -> bytes:
    """Open what EAX sealed; raises InvalidTag. Source: Bellare, Rogaway and Wagner, "The EAX mode of operation"."""
    view = memoryview(data)
    sealed, tag = view[:-TAG_SIZE], view[-TAG_SIZE:]
    start = _omac(cipher, key, 0, nonce)
    masks = (start, _omac(cipher, key, 1, associated), _omac(cipher, key, 2, sealed))
    expected = bytes(a ^ b ^ c for a, b, c in zip(*masks, strict=True))
    if not bytes_eq(expected, bytes(tag)):
        raise InvalidTag
    return Cipher(cipher.make(key), modes.CTR(start)).decryptor().update(sealed)


def _omac(cipher: SymmetricCipher, key: bytes, number: int, data: Chunk) -> bytes:
    mac = CMAC(cipher.make(key))
    mac.update(number.to_bytes(cipher.block_size))
    mac.update(bytes(data))
    return mac.finalize()


class AeadReader(PartsSink):
    """Sink of the chunks: opens them one by one and gives what inner makes of the content.

    open_chunk: see opener. nonce: of the chunk with an index. associated: additional data of the chunk with an index,
    and of the final tag, which also counts all bytes. Memory: one chunk, sealed and open.
    """

    def __init__(
        self,
        chunk_size: int,
        open_chunk: Open,
        nonce: Callable[[int], bytes],
        associated: Callable[[int], bytes],
        inner: Sink,
    ) -> None:
        self._chunk_size = chunk_size
        self._open_chunk = open_chunk
        self._nonce = nonce
        self._associated = associated
        self._inner = inner
        self._buffer = bytearray()
        self._index = 0
        self._size = 0

    def feed(self, data: Chunk) -> Iterator[bytes]:
        """Take a chunk of the body; gives only what has been authenticated."""
        sealed_size = self._chunk_size + TAG_SIZE
        view = memoryview(data)
        while len(view):
            # The final tag follows the last chunk, so that a chunk is whole only when a tag's bytes are behind it.
            part = view[: sealed_size + TAG_SIZE - len(self._buffer)]
            self._buffer += part
            view = view[len(part) :]
            if len(self._buffer) == sealed_size + TAG_SIZE:
                plain = self._open(self._buffer[:sealed_size])
                del self._buffer[:sealed_size]
                yield from self._inner.feed(plain)

    def feed_parts(self, parts: Sequence[Chunk]) -> Iterator[bytes]:
        """Take chunks of the body."""
        for part in parts:
            yield from self.feed(part)

    def close(self) -> Iterator[bytes]:
        """Open the last chunk and the final tag, and give the rest. Raises DataCorrupt."""
        if len(self._buffer) < TAG_SIZE or 0 < len(self._buffer) - TAG_SIZE < TAG_SIZE:
            raise DataCorrupt("the OpenPGP data are truncated")
        last, final = self._buffer[:-TAG_SIZE], self._buffer[-TAG_SIZE:]
        plain = self._open(last) if last else b""
        self._open(final, self._size.to_bytes(8))
        if plain:
            yield from self._inner.feed(plain)
        yield from self._inner.close()

    def _open(self, sealed: bytearray, total: bytes = b"") -> bytes:
        nonce, associated = self._nonce(self._index), self._associated(self._index) + total
        try:
            plain = self._open_chunk(nonce, memoryview(sealed), associated)
        except InvalidTag:
            what = "their end" if total else f"chunk {self._index + 1}"
            raise DataCorrupt(f"the OpenPGP data are damaged: {what} is not authentic") from None
        self._index += 1
        self._size += len(plain)
        return plain


def seipd_reader(fields: bytes, session_key: bytes, inner: Sink) -> AeadReader:
    """Reader of SEIPD version 2. fields: parameters and salt, as behind the version."""
    found = parameters(fields[:3])
    cipher = CIPHERS[found.cipher]
    start = b"\xd2\x02" + fields[:3]
    nonce_size = NONCE_SIZES[found.mode] - 8
    kdf = HKDF(hashes.SHA256(), cipher.key_size + nonce_size, fields[3:], start)
    derived = kdf.derive(session_key)
    key, nonce = derived[: cipher.key_size], derived[cipher.key_size :]
    return AeadReader(
        found.chunk_size,
        opener(found.mode, cipher, key),
        lambda index: nonce + index.to_bytes(8),
        lambda index: start,  # noqa: ARG005
        inner,
    )


def tag20_reader(fields: bytes, session_key: bytes, inner: Sink) -> AeadReader:
    """Reader of the packet with tag 20. fields: parameters and nonce, as behind the version."""
    found = parameters(fields[:3])
    start = b"\xd4\x01" + fields[:3]
    nonce = int.from_bytes(fields[3:])
    return AeadReader(
        found.chunk_size,
        opener(found.mode, CIPHERS[found.cipher], session_key),
        lambda index: (nonce ^ index).to_bytes(NONCE_SIZES[found.mode]),
        lambda index: start + index.to_bytes(8),
        inner,
    )
