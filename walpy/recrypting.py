"""What `st copy` does to objects on their way: decrypts them with the source's keys, encrypts them with the target's.

Documents (JSON, which no archive encrypts) stay as they are. Codecs are left alone: names and what is compressed stay.
Memory: a chunk, and what the ciphers make of it.
"""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

from walpy.archive import UNREADABLE, Archive
from walpy.comparing import same_chunks
from walpy.errors import ConfigError, SecretKeyMissing, StorageError
from walpy.storage.base import Chunk, ObjectReader
from walpy.stream.identify import HEAD_SIZE, NO_MARK, identify


class _Object(NamedTuple):
    """An object that is being read: its first bytes, and all of its chunks."""

    head: bytes
    chunks: Iterable[Chunk]
    is_document: bool


class Recryption:
    """Decrypts and encrypts objects between two archives. Raises ConfigError for a side without a key."""

    def __init__(self, source: Archive, target: Archive, *, decrypt: bool, encrypt: bool) -> None:
        self._source, self._target = _keyed(source), _keyed(target)
        self._decrypts, self._encrypts = decrypt, encrypt
        if decrypt:
            _require_key(self._source, "--decrypt-source")
        if encrypt:
            _require_key(self._target, "--encrypt-source")
        if not encrypt:
            target.check_writable()

    def copy(self, name: str) -> None:
        """Copy an object, create-only. Raises ObjectExists, StorageError; DataCorrupt for what is damaged."""
        with self._source.storage.open(name) as reader:
            self._target.storage.put(name, self._encrypted(name, _read(name, reader)), create_only=True)

    def is_same(self, name: str) -> bool:
        """Whether the target's object has the same plain content; taken for granted where no key at hand tells it."""
        with self._source.storage.open(name) as here, self._target.storage.open(name) as there:
            ours, theirs = _read(name, here), _read(name, there)
            try:
                return same_chunks(self._plain(name, ours), self._plain_there(theirs))
            except SecretKeyMissing:
                return True  # it was put whole under that name, and whoever cannot read it cannot compare it

    def _encrypted(self, name: str, found: _Object) -> Iterable[Chunk]:
        plain = self._plain(name, found)
        return self._target.encrypt(plain) if self._encrypts and not found.is_document else plain

    def _plain(self, name: str, found: _Object) -> Iterable[Chunk]:
        if found.is_document:
            return found.chunks
        if self._decrypts:
            return self._decrypted(name, found)
        self._refuse_twice(name, found.head)
        return found.chunks

    def _plain_there(self, found: _Object) -> Iterable[Chunk]:
        return self._target.decrypt(found.chunks) if self._encrypts and not found.is_document else found.chunks

    def _decrypted(self, name: str, found: _Object) -> Iterator[Chunk]:
        try:
            yield from self._source.decrypt(found.chunks)
        except UNREADABLE as error:
            raise self._source.unreadable("object", name, error) from error

    def _refuse_twice(self, name: str, head: bytes) -> None:
        """Raise StorageError for what is encrypted already: nobody could read it with the target's key alone."""
        kind = identify(head)
        configured = self._source.cipher
        may_be_sodium = kind == NO_MARK and configured is not None and configured.name == "libsodium"
        if kind.cipher or may_be_sodium:
            what = kind.text if kind.cipher else "of no known kind, and may be encrypted with libsodium"
            raise StorageError(f"object {name!r} is {what}: it would be encrypted twice", "Add --decrypt-source.")


def _require_key(archive: Archive, flag: str) -> None:
    if archive.cipher is None:
        raise ConfigError(f"{flag}: no key is set for {archive.storage.url}", "Set one (docs/encryption.md).")


def _keyed(archive: Archive) -> Archive:
    return Archive(archive.config, archive.storage, archive.codec)


def _read(name: str, reader: ObjectReader) -> _Object:
    chunks = iter(reader)
    first = bytes(next(chunks, b""))
    is_document = name.endswith(".json") and first[:1] in (b"{", b"[")
    return _Object(first[:HEAD_SIZE], chain([first], chunks), is_document)
