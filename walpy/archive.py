"""Archive: which object, through which transforms, in which storage.

Memory: what the storage's put or reader holds (see the backend), plus one encoded or decoded chunk; decoders bound what
one chunk inflates to.
"""

import json
import logging
from contextlib import closing, contextmanager
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from walpy import layout
from walpy.config import FAILOVER_KEY
from walpy.errors import (
    AccessDenied,
    ConfigError,
    DataCorrupt,
    ObjectMissing,
    SecretKeyMissing,
    WalpyError,
    WrongKey,
)
from walpy.storage import open_storage, open_wal_storage
from walpy.storage.base import ChoosesStorage
from walpy.stream.codecs import READ_EXTENSIONS, Codec, codec, codec_for_extension
from walpy.stream.library import decode
from walpy.stream.parallel import Helpers
from walpy.stream.transform import pump

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from walpy.config import Config
    from walpy.storage.base import Chunk, ObjectReader, Storage
    from walpy.stream.cipher import Cipher
    from walpy.stream.parallel import PieceSource

    Tap = Callable[[Iterable[Chunk]], Iterable[Chunk]]

# Bytes of a WAL file's pieces, for formats that lose nothing by small ones: less fresh memory, which is slow to touch.
WAL_PIECE_SIZES = {"lz4": 256 << 10}
CIPHER_MODULE, IDENTIFY_MODULE = "walpy.stream.ciphers", "walpy.stream.identify"  # imported when one is needed
REQUIRE_ENCRYPTION = "WALPY_REQUIRE_ENCRYPTION"
UNREADABLE = (DataCorrupt, SecretKeyMissing)  # what decoding raises for what an object is
MOST_MISSED = 64  # files that a WalHints remembers as absent; recovery asks for one or two again and again

logger = logging.getLogger(__name__)


class Stored(NamedTuple):
    """What a put stored: the object's name, the bytes that went in and the bytes kept."""

    name: str
    size: int
    stored_size: int


class WalHints:
    """What became of earlier look-ups of WAL files; it chooses the first request of the next one, and answers none.

    That a file is absent is always the storage's word on all names that it could have: a set of extensions seen so far
    would be wrong on the day on which another writer uses a new one. Safe for threads.

    suffix: what follows a file's name in the object's, by the file that was found last; the codec's at first.
    """

    def __init__(self, suffix: str) -> None:
        self.suffix = suffix
        self.is_blank = True  # nothing was noted yet
        self._missed: dict[str, None] = {}  # in the order in which they were asked for

    def expects_absence(self, file_name: str) -> bool:
        """Whether to look for all candidates first, which proves an absence by one request and costs a hit one more.

        Recovery asks for the history of the next timeline to learn that there is none, and for a missing segment again.
        """
        return file_name in self._missed or file_name.endswith(".history")

    @property
    def last_missed(self) -> str:
        """The file that was missed last, and was not found since; empty: none."""
        return next(reversed(self._missed), "")

    def note_missed(self, file_name: str) -> None:
        """No object holds a file, at this moment."""
        if file_name.endswith(".history"):
            return
        self.is_blank = False
        self._missed[file_name] = None
        while len(self._missed) > MOST_MISSED:
            self._missed.pop(next(iter(self._missed)), None)

    def note_found(self, file_name: str, suffix: str) -> None:
        """An object with a suffix holds a file."""
        self.is_blank = False
        self.suffix = suffix
        self._missed.pop(file_name, None)


class Archive:
    """One archive; safe to use from several threads. codec is the one for writing.

    is_raw: its data are neither encrypted nor decrypted, whatever the settings say.
    """

    def __init__(self, config: "Config", storage: "Storage", write_codec: Codec, *, is_raw: bool = False) -> None:
        self.config = config
        self.storage = storage
        self.codec = write_codec
        self._is_raw = is_raw
        self.hints = WalHints(layout.with_extension("", write_codec.extension))
        self._helpers = Helpers()

    @property
    def storage_name(self) -> str:
        """WAL-G's name of the storage that the next object goes to. Raises StorageUnavailable when there is none."""
        if isinstance(self.storage, ChoosesStorage):
            return self.storage.name_to_write()
        return self.config.storage_name()

    @cached_property
    def cipher(self) -> "Cipher | None":
        """What encrypts and decrypts data, opened on first use; None: they are plain. Raises ConfigError.

        Commands that look at names and documents alone, which are plain in every archive, need no key.
        """
        if self._is_raw or not self.config.encryption_settings():
            return None
        cipher: Cipher | None = import_module(CIPHER_MODULE).open_cipher(self.config)
        return cipher

    def raw(self) -> "Archive":
        """The same archive, its data neither encrypted nor decrypted."""
        return Archive(self.config, self.storage, self.codec, is_raw=True)

    def check_writable(self) -> None:
        """Make sure that data can be encrypted as the settings want it, before a command does anything else.

        Raises as encrypt.
        """
        self._check_not_plain()
        if self.cipher is not None:
            self.cipher.check_encryption()

    def _check_not_plain(self) -> None:
        if self.cipher is None and self.config.boolean(REQUIRE_ENCRYPTION):
            raise ConfigError(
                f"data would be stored plain, and {REQUIRE_ENCRYPTION} is set"
                f" ({self.config.origin(REQUIRE_ENCRYPTION)})",
                "Set a key (docs/encryption.md), or unset it.",
            )

    def encrypt(self, chunks: "Iterable[Chunk]") -> "Iterable[Chunk]":
        """Run what a codec made through the cipher, if there is one; asks a key service now, where one is used.

        Raises ConfigError where data must not be stored plain, and what Cipher.encryptor does.
        """
        self._check_not_plain()
        return chunks if self.cipher is None else pump(chunks, [self.cipher.encryptor()])

    def encode(self, chunks: "Iterable[Chunk]") -> "Iterable[Chunk]":
        """Run chunks through codec and cipher. Raises as encrypt."""
        return self.encrypt(pump(chunks, [self.codec.encoder()]))

    def decrypt(self, chunks: "Iterable[Chunk]") -> "Iterable[Chunk]":
        """Undo encrypt; whoever reads the result to its end has it all. Raises DataCorrupt."""
        return chunks if self.cipher is None else decode(self.cipher.decryptor(), chunks)

    def decode(self, extension: str, chunks: "Iterable[Chunk]") -> "Generator[Chunk, None, None]":
        """Undo encode for an object with that extension. Raises DataCorrupt for damaged or truncated data."""
        return self._helpers.decode(codec_for_extension(extension), self.decrypt(chunks))

    def put_wal(
        self, file_name: str, chunks: "Iterable[Chunk]", *, create_only: bool = True, tap: "Tap | None" = None
    ) -> Stored:
        """Store a WAL file under its name. Raises ObjectExists when create_only and the object is there.

        tap: is given the bytes to store, and passes them on.
        """
        name = layout.wal_object(file_name, self.codec.extension)
        count = _Count(chunks)
        encoded = self.encode(count)
        stored_size = self.storage.put(name, tap(encoded) if tap else encoded, create_only=create_only)
        return Stored(name, count.size, stored_size)

    def put_wal_file(
        self, file_name: str, source: "PieceSource", *, create_only: bool = True, tap: "Tap | None" = None
    ) -> Stored:
        """As put_wal, from a file that is open: several threads encode it where the codec allows."""
        name = layout.wal_object(file_name, self.codec.extension)
        piece_size = WAL_PIECE_SIZES.get(self.codec.name)
        stored_size = self.put_pieces(name, source, create_only=create_only, piece_size=piece_size, tap=tap)
        return Stored(name, source.size, stored_size)

    def put_pieces(
        self,
        name: str,
        source: "PieceSource",
        *,
        create_only: bool = False,
        piece_size: int | None = None,
        tap: "Tap | None" = None,
    ) -> int:
        """Store an object under its whole name; the bytes kept. Several threads encode it where the codec allows.

        piece_size: None for the format's. tap: as in put_wal.
        """
        form = self.codec.pieces
        if form is None or not source.size:
            encoded = self.encode(source.chunks())
            return self.storage.put(name, tap(encoded) if tap else encoded, create_only=create_only)
        with closing(self._helpers.encode(form, source, piece_size or form.piece_size)) as chunks:
            encrypted = self.encrypt(chunks)
            return self.storage.put(name, tap(encrypted) if tap else encrypted, create_only=create_only)

    def wal_candidates(self, file_name: str) -> list[str]:
        """Every object name that may hold a WAL file, the configured codec's first, then in WAL-G's probing order.

        WAL-G before 3.0.9 left the dot of the codec none: `wal_005/000000010000000000000001.`.
        """
        bare = layout.wal_object(file_name, "")
        probed = (f"{bare}.{extension}" for extension in READ_EXTENSIONS)
        return list(dict.fromkeys((layout.wal_object(file_name, self.codec.extension), *probed, bare)))

    def find_wal(self, file_name: str) -> str | None:
        """Object that holds a WAL file; None when the storage says that none does."""
        found = self.storage.stat_many(self.wal_candidates(file_name))
        return found[0].name if found else None

    @contextmanager
    def open_wal(self, file_name: str) -> "Iterator[Iterator[Chunk]]":
        """Decoded chunks of a WAL file: one request for what is there, one or two to prove an absence, see WalHints.

        Raises ObjectMissing when the storage says that no candidate exists.
        """
        name, opened = self._open_wal(file_name)
        with opened as reader, closing(self._decode_wal(file_name, name, reader)) as chunks:
            yield chunks

    def _open_wal(self, file_name: str) -> "tuple[str, ObjectReader]":
        if self.hints.expects_absence(file_name):
            try:
                return self._open_listed(file_name)
            except AccessDenied:
                logger.debug("these credentials cannot list: %s is asked for by name", file_name)
        name = layout.wal_object(file_name, "") + self.hints.suffix
        try:
            return name, self.storage.open(name)
        except ObjectMissing:
            return self._open_listed(file_name)

    def _open_listed(self, file_name: str) -> "tuple[str, ObjectReader]":
        """Open what a look-up of all candidates finds: one request for them together, where the storage can list."""
        name = self.find_wal(file_name)
        if name is None:
            self.hints.note_missed(file_name)
            raise ObjectMissing(f"no object of {self.storage.url} holds {file_name!r}")
        opened = self.storage.open(name)
        self.hints.note_found(file_name, name.removeprefix(layout.wal_object(file_name, "")))
        return name, opened

    @contextmanager
    def open_wal_object(self, file_name: str, name: str) -> "Iterator[Iterator[Chunk]]":
        """Decoded chunks of the WAL file that one object, a candidate for it, holds."""
        with self.storage.open(name) as reader, closing(self._decode_wal(file_name, name, reader)) as chunks:
            yield chunks

    def _decode_wal(self, file_name: str, name: str, chunks: "Iterable[Chunk]") -> "Generator[Chunk, None, None]":
        return self.decode_object(name, name.removeprefix(layout.wal_object(file_name, "")).lstrip("."), chunks)

    def decode_object(self, name: str, extension: str, chunks: "Iterable[Chunk]") -> "Generator[Chunk, None, None]":
        """As decode; what cannot be read is told by the object's name, and by what it is. Raises as unreadable says."""
        try:
            yield from self.decode(extension, chunks)
        except UNREADABLE as error:
            raise self.unreadable("object", name, error) from error

    def unreadable(self, what: str, name: str, error: WalpyError) -> WalpyError:
        """The error to raise for an object that could not be read, from one of UNREADABLE. what: `object`, `part`.

        DataCorrupt for a damaged one; WrongKey for one that is something else than the settings say, or for other keys;
        SecretKeyMissing where no key reads anything. Asks the storage once more, for the first bytes.
        """
        identify = import_module(IDENTIFY_MODULE)
        try:
            with self.storage.open(name, size=identify.HEAD_SIZE) as reader:
                head = b"".join(bytes(chunk) for chunk in reader)
            found = identify.foreign(head, self.cipher)
            hint = identify.advice(head, self.cipher) or error.hint
        except WalpyError:
            found, hint, head = None, error.hint, b""
        if isinstance(error, SecretKeyMissing | WrongKey):
            kind = type(error)
            return kind(f"{what} {name!r} ({identify.identify(head).text}) cannot be decrypted: {error}", hint)
        if found:
            settings = self.cipher.name if self.cipher else "no cipher"
            return WrongKey(f"{what} {name!r} is {found.text}, and the settings are for {settings}: {error}", hint)
        return DataCorrupt(f"{what} {name!r} is damaged: {error}", hint)

    @contextmanager
    def open_object(self, name: str, extension: str | None = None) -> "Iterator[Iterator[Chunk]]":
        """Decoded chunks of an object; extension None: what follows the last dot of its name."""
        if extension is None:
            extension = name.rpartition("/")[2].rpartition(".")[2]
        with self.storage.open(name) as reader, closing(self.decode_object(name, extension, reader)) as chunks:
            yield chunks

    def put_json(self, name: str, document: object, *, create_only: bool = False) -> Stored:
        """Store a JSON document as it is: as in WAL-G, neither compressed nor encrypted."""
        data = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
        return self.put_bytes(name, data, create_only=create_only)

    def put_bytes(self, name: str, data: bytes, *, create_only: bool = False) -> Stored:
        """Store bytes as they are."""
        return Stored(name, len(data), self.storage.put(name, [data], create_only=create_only))

    def get_bytes(self, name: str) -> bytes:
        """All bytes of a small object, as they are."""
        with self.storage.open(name) as reader:
            return b"".join(bytes(chunk) for chunk in reader)

    def get_json(self, name: str) -> object:
        """Parse a JSON object of the archive. Raises DataCorrupt when it is none."""
        try:
            return json.loads(self.get_bytes(name))
        except ValueError as error:
            raise DataCorrupt(f"object {name!r} is not JSON: {error}") from error

    def close(self) -> None:
        """Release the storage's connections."""
        self.storage.close()


def open_archive(config: "Config", storage: "Storage | None" = None) -> Archive:
    """Open the archive of a configuration, in the primary storage unless another one is given.

    Raises ConfigError for wrong settings. Keys are read when data are, see Archive.cipher.
    """
    method = config.text("WALG_COMPRESSION_METHOD", "lz4")
    return Archive(config, storage or open_storage(config), codec(method, config))


def open_wal_archive(config: "Config", *, is_writing: bool) -> Archive:
    """As open_archive, to archive WAL (is_writing) or to restore it: over all storages when there are failover ones."""
    return open_archive(config, open_wal_storage(config, is_writing=is_writing))


def open_wal_archives(config: "Config") -> tuple[Archive, Archive]:
    """Archives to store WAL in, and to restore it from: one and the same without failover storages."""
    archive = open_wal_archive(config, is_writing=True)
    return archive, open_wal_archive(config, is_writing=False) if config.is_set(FAILOVER_KEY) else archive


def open_stored(config: "Config") -> Archive:
    """Open an archive whose objects are moved as they are stored, or come from another program than WAL-G.

    WAL-G encrypts neither sentinels nor metadata, which alone are read of its own.
    """
    return Archive(config, open_storage(config), codec("none", config), is_raw=True)


class _Count:
    """Chunks passed on, their bytes counted."""

    def __init__(self, chunks: "Iterable[Chunk]") -> None:
        self.size = 0
        self._chunks = chunks

    def __iter__(self) -> "Iterator[Chunk]":
        for chunk in self._chunks:
            self.size += len(chunk)
            yield chunk
