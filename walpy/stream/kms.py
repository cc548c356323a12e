"""Encryption with data keys that a key service wraps: header with the wrapped key, then a DARE stream.

Every object has a data key of its own, made when its encryptor is. Keys that were unwrapped are kept in the process,
the last MOST_KEYS of them and never on disk: WAL-G gives all parts of a backup one key. Memory: as in dare.
"""

import threading
from collections.abc import Callable, Iterator
from typing import Final, Protocol, TypeVar

from walpy.errors import DataCorrupt, StorageThrottled, StorageUnavailable, WalpyError
from walpy.storage.base import Chunk
from walpy.storage.retry import RetryPolicy
from walpy.stream import cipher, dare

T = TypeVar("T")

MOST_KEYS: Final = 64  # unwrapped keys that are kept


class KeyService(Protocol):
    """A service that wraps keys; safe for threads. Both raise AccessDenied, ConfigError and WalpyError."""

    def new_key(self) -> tuple[bytes, bytes]:
        """A fresh data key of 32 bytes, plain and wrapped."""
        ...

    def unwrap(self, wrapped: bytes) -> bytes:
        """The data key that was wrapped. Raises DataCorrupt when the service does not know it."""
        ...


class Header(Protocol):
    """How a wrapped key is stored before the data."""

    def pack(self, wrapped: bytes) -> bytes:
        """The header. Raises ConfigError for a wrapped key that it cannot hold."""
        ...

    def size(self, head: bytes) -> int:
        """Bytes of the header that begins with head, as far as head tells. Raises DataCorrupt for another beginning."""
        ...

    def unpack(self, head: bytes) -> bytes:
        """The wrapped key of a whole header."""
        ...


class KmsCipher:
    """The cipher of one key service."""

    def __init__(self, name: str, service: KeyService, header: Header) -> None:
        self.name = name
        self.header = header
        self._service = service
        self._keys: dict[bytes, bytes] = {}  # by their wrapped form
        self._spare: tuple[bytes, bytes] | None = None  # a data key that no object has yet, and its header
        self._lock = threading.Lock()

    def encryptor(self) -> dare.Encryptor:
        """A fresh encryptor, with a fresh data key. Raises as KeyService."""
        with self._lock:
            made, self._spare = self._spare, None
        return dare.Encryptor(*(made or self._new_key()))

    def check_encryption(self) -> None:
        """Ask for the next object's data key now. Raises as KeyService."""
        if self._spare is None:
            self._spare = self._new_key()

    def _new_key(self) -> tuple[bytes, bytes]:
        """A data key, and the header that holds it."""
        key, wrapped = self._service.new_key()
        return key, self.header.pack(wrapped)

    def can_decrypt(self) -> bool:
        """Always."""
        return True

    def decryptor(self) -> "Decryptor":
        """A fresh decryptor; it asks the service when the header is there."""
        return Decryptor(self)

    def unwrap(self, wrapped: bytes) -> bytes:
        """A data key. Raises as KeyService."""
        with self._lock:
            key = self._keys.get(wrapped)
        if key is None:
            key = self._service.unwrap(wrapped)
            if len(key) != dare.KEY_SIZE:
                raise DataCorrupt(f"{self.name} unwrapped a data key of {len(key)} bytes, expected {dare.KEY_SIZE}")
            with self._lock:
                self._keys[wrapped] = key
                while len(self._keys) > MOST_KEYS:
                    del self._keys[next(iter(self._keys))]
        return key


class Decryptor(cipher.Decryptor):
    """Decrypts one object, header and data."""

    def __init__(self, cipher: KmsCipher) -> None:
        self._cipher = cipher
        self._head = b""
        self._data: dare.Decryptor | None = None

    def update(self, chunk: Chunk) -> Chunk:
        """Decrypt a chunk; the result is valid until the next call. Raises DataCorrupt, and as KeyService."""
        rest = self._behind_head(chunk)
        return self._data.update(rest) if self._data else b""

    def pieces(self, chunk: Chunk) -> Iterator[Chunk]:
        """As update, piece by piece."""
        rest = self._behind_head(chunk)
        if self._data:
            yield from self._data.pieces(rest)

    def _behind_head(self, chunk: Chunk) -> memoryview:
        """What of a chunk is data. Opens them when the header is whole."""
        rest = memoryview(chunk)
        header = self._cipher.header
        while self._data is None:
            missing = header.size(self._head) - len(self._head)
            if not missing:
                self._data = dare.Decryptor(self._cipher.unwrap(header.unpack(self._head)))
            elif not rest:
                break
            else:
                self._head += bytes(rest[:missing])
                rest = rest[missing:]
        return rest

    def finish(self) -> Chunk:
        """The rest. Raises DataCorrupt when the object lacks its end."""
        if self._data is None:
            raise DataCorrupt(f"no {self._cipher.name} data: they are too short")
        return self._data.finish()


def ask(policy: RetryPolicy, request: Callable[[], T], what: str) -> T:
    """A key service's answer; request is repeated, as a storage's would be, while it fails for a passing reason.

    what: `encryption by AWS KMS`. Raises WalpyError at last, not the StorageError that whoever moves an object's bytes
    would take for its storage's.
    """
    try:
        return policy.call(request, what=what)
    except (StorageThrottled, StorageUnavailable) as error:
        raise WalpyError(str(error), error.hint) from error.__cause__
