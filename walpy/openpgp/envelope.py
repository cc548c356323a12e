"""Envelope OpenPGP: the private key itself is encrypted by a key service, and travels in front of every object.

Object: `envelope-yc-kms`, 01, the text of key ids and the service's ciphertext, each after its size (4 bytes,
little-endian), then an OpenPGP message, as in WAL-G 3.
"""

import base64
import binascii
import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from walpy.config import Config
from walpy.errors import ConfigError, DataCorrupt, WalpyError
from walpy.openpgp.cipher import OpenPgpCipher
from walpy.openpgp.decryptor import Decryptor
from walpy.openpgp.encryptor import Encryptor
from walpy.storage.base import Chunk
from walpy.stream.key_file import read_key_file

MAGIC = b"envelope-yc-kms"
VERSION = b"\x01"
LARGEST_HEADER = 8192  # bytes that WAL-G writes at most
SIZE_BYTES = 4
MOST_KEYS = 64  # unwrapped ones that are kept: an archive has one, and each that came after a change of the setting

Unwrap = Callable[[bytes], bytes]

logger = logging.getLogger(__name__)


class Header(NamedTuple):
    """The header of an object: key ids, for people, and the service's ciphertext. size: bytes of the whole header."""

    key_ids: str
    ciphertext: bytes
    size: int


def parse_header(head: bytes) -> Header | None:
    """The header at the front of head, None while more bytes are wanted. Raises DataCorrupt for what is none."""
    start = MAGIC + VERSION
    if head[: len(start)] != start[: len(head)]:
        raise DataCorrupt("not an object of the OpenPGP envelope", "It may be plain, or encrypted in another way.")
    fields: list[bytes] = []
    position = len(start)
    for _ in range(2):
        body = position + SIZE_BYTES
        size = int.from_bytes(head[position:body], "little")
        if len(head) >= body and body + size > LARGEST_HEADER:
            raise DataCorrupt("the header of the OpenPGP envelope is damaged: too large")
        position = body + size
        if len(head) < position:
            return None
        fields.append(head[body:position])
    return Header(fields[0].decode("utf-8", "replace"), fields[1], position)


def encode_header(key_ids: str, ciphertext: bytes) -> bytes:
    """The header of an object. Raises ConfigError when the key is too large for it."""
    fields = (key_ids.encode(), ciphertext)
    header = MAGIC + VERSION + b"".join(len(item).to_bytes(SIZE_BYTES, "little") + item for item in fields)
    if len(header) > LARGEST_HEADER:
        raise ConfigError(f"the enveloped OpenPGP key is too large: its header has more than {LARGEST_HEADER} bytes")
    return header


class KeyCache:
    """The last MOST_KEYS unwrapped keys, in memory alone, by the digest of their ciphertext. Safe for threads.

    lifetime_seconds: how long one is used without asking again; 0: as long as the process lives.
    """

    def __init__(self, unwrap: Unwrap, lifetime_seconds: float) -> None:
        self._unwrap = unwrap
        self._lifetime_seconds = lifetime_seconds
        self._lock = threading.Lock()
        self._found: dict[str, tuple[OpenPgpCipher, float]] = {}

    def cipher(self, ciphertext: bytes) -> OpenPgpCipher:
        """The cipher with the key that the service decrypts.

        When the service fails, one that is too old serves on, with a warning. Raises what unwrap raises, ConfigError
        for a key that is none.
        """
        digest = "sha1:" + hashlib.sha1(ciphertext, usedforsecurity=False).hexdigest()
        with self._lock:
            found, moment = self._found.get(digest, (None, 0.0))
            if found and (not self._lifetime_seconds or time.monotonic() < moment + self._lifetime_seconds):
                return found
            try:
                cipher = OpenPgpCipher.from_key(self._unwrap(ciphertext), origin="the enveloped OpenPGP key")
            except WalpyError as error:
                if found is None:
                    raise
                logger.warning("the key service fails, and a key that it decrypted earlier is used: %s", error)
                return found
            self._found[digest] = (cipher, time.monotonic())
            while len(self._found) > MOST_KEYS:
                del self._found[next(iter(self._found))]
            return cipher


class EnvelopeCipher:
    """A cipher whose key comes from a key service. Safe for threads. name: for people."""

    name = "envelope OpenPGP"

    def __init__(self, ciphertext: bytes, unwrap: Unwrap, *, lifetime_seconds: float = 0) -> None:
        """ciphertext: of the armored private key. unwrap: asks the service to decrypt one; see KeyCache."""
        self._ciphertext = ciphertext
        self._keys = KeyCache(unwrap, lifetime_seconds)

    def encryptor(self) -> "EnvelopeEncryptor":
        """A Transform that encrypts one object. Raises ConfigError, and what unwrap raises."""
        cipher = self._keys.cipher(self._ciphertext)
        # As WAL-G prints a number: no zeros in front.
        ids = (f"{int.from_bytes(item.primary.public.key_id):X}" for item in cipher.certificates())
        return EnvelopeEncryptor(encode_header(",".join(ids), self._ciphertext), cipher.encryptor())

    def check_encryption(self) -> None:
        """Raises as encryptor; the key that the service decrypts is kept for the objects."""
        self.encryptor()

    def can_decrypt(self) -> bool:
        """Always: the service gives the private key."""
        return True

    def decryptor(self) -> "EnvelopeDecryptor":
        """A Transform (a Decoder) that decrypts one object by the key in its header."""
        return EnvelopeDecryptor(lambda ciphertext: self._keys.cipher(ciphertext).decryptor())


class EnvelopeEncryptor:
    """A Transform: the header, then what the encryptor gives."""

    def __init__(self, header: bytes, encryptor: Encryptor) -> None:
        self._header = header
        self._encryptor = encryptor

    def update(self, chunk: Chunk) -> bytes:
        """Encrypt a chunk."""
        return self._take_header() + self._encryptor.update(chunk)

    def finish(self) -> bytes:
        """End the message."""
        return self._take_header() + self._encryptor.finish()

    def _take_header(self) -> bytes:
        header, self._header = self._header, b""
        return header


class EnvelopeDecryptor:
    """A Decoder: reads the header, then decrypts by its key."""

    def __init__(self, open_key: Callable[[bytes], Decryptor]) -> None:
        self._open_key = open_key
        self._head = b""
        self._decryptor: Decryptor | None = None

    def update(self, chunk: Chunk) -> bytes:
        """Decrypt a chunk. Raises DataCorrupt, and what the key service raises."""
        return b"".join(self.pieces(chunk))

    def pieces(self, chunk: Chunk) -> Iterator[bytes]:
        """Decrypt a chunk, in bounded pieces."""
        if self._decryptor is None:
            chunk = self._head + bytes(chunk)
            header = parse_header(chunk)
            if header is None:
                self._head = chunk
                return
            self._decryptor = self._open_key(header.ciphertext)
            chunk = memoryview(chunk)[header.size :]
        yield from self._decryptor.pieces(chunk)

    def finish(self) -> bytes:
        """The last piece. Raises DataCorrupt."""
        if self._decryptor is None:
            raise DataCorrupt("the OpenPGP envelope is truncated" if self._head else "no data of an OpenPGP envelope")
        return self._decryptor.finish()


def from_config(config: Config, unwrap: Unwrap) -> EnvelopeCipher:
    """The cipher that the settings ask for. unwrap: the key service's decryption. Raises ConfigError."""
    key = "WALG_ENVELOPE_PGP_KEY_PATH"
    path = config.text(key)
    if path:
        text = read_key_file(path, key)
    else:
        key = "WALG_ENVELOPE_PGP_KEY"
        text = config.text(key).encode()
    try:
        ciphertext = base64.b64decode(b"".join(text.split()), validate=True)
    except binascii.Error:
        ciphertext = b""
    if not ciphertext:
        raise ConfigError(f"{key} is no base64 of a key that the key service encrypted ({config.origin(key)})")
    return EnvelopeCipher(ciphertext, unwrap, lifetime_seconds=config.seconds("WALG_ENVELOPE_CACHE_EXPIRATION"))
