"""Single objects of an archive, by their stored names: what `walpy st` reads, writes, removes and checks.

Output and exit codes as WAL-G's: what is missing is a StorageError here, since 74 is wal-fetch's.
Memory: contents are streamed; names are removed REMOVED_AT_ONCE at a time.
"""

import contextlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import BinaryIO, Final, TypeVar

from walpy.archive import Archive
from walpy.errors import ObjectExists, ObjectMissing, StorageError, WalpyError
from walpy.layout import with_extension
from walpy.object_listing import check_versions, missing_object, stored_name
from walpy.storage.base import READ_SIZE, Chunk, KeepsVersions, ObjectVersion, StoredObject, Versions
from walpy.stream.codecs import READ_EXTENSIONS
from walpy.stream.transform import pump

REMOVED_AT_ONCE: Final = 5_000  # names of one call
_FILE_MODE: Final = 0o640

Item = TypeVar("Item")

logger = logging.getLogger(__name__)


# ---- contents


def write_object(
    archive: Archive, name: str, stream: BinaryIO, *, decrypt: bool = False, decompress: bool = False
) -> None:
    """Write an object's bytes to a stream: as they are stored, or decrypted, decompressed by the name's extension.

    Raises StorageError, DataCorrupt, OSError of the stream.
    """
    with _open(archive, name, decrypt=decrypt, decompress=decompress) as chunks:
        for chunk in chunks:
            stream.write(chunk)
    stream.flush()


def fetch_object(
    archive: Archive, name: str, destination: str, *, decrypt: bool = True, decompress: bool = True
) -> None:
    """Write an object to a new local file, or into a directory under its own base name. Raises as write_object."""
    if os.path.isdir(destination):
        destination = os.path.join(destination, name.rpartition("/")[2])
    with _open(archive, name, decrypt=decrypt, decompress=decompress) as chunks:
        try:
            descriptor = os.open(destination, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE)
        except OSError as error:
            raise WalpyError(f"cannot make {destination!r}: {error.strerror}", "It must not exist yet.") from None
        try:
            with os.fdopen(descriptor, "wb") as file:
                for chunk in chunks:
                    file.write(chunk)
                file.flush()
                os.fsync(descriptor)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(destination)
            raise


def store_file(
    archive: Archive,
    stream: BinaryIO,
    name: str,
    *,
    compress: bool = True,
    encrypt: bool = True,
    overwrite: bool = False,
) -> str:
    """Store a stream under name, with the codec's extension when compressed; its whole name.

    As in WAL-G an object with the extension stands in the way of one without, too. Raises ObjectExists, ConfigError.
    """
    compressed = with_extension(stored_name(name), archive.codec.extension)
    target = compressed if compress else stored_name(name)
    chunks: Iterable[Chunk] = iter(lambda: stream.read(READ_SIZE), b"")
    if not overwrite and compressed != target and archive.storage.stat_many([compressed]):
        raise _in_the_way(compressed)
    try:
        encoded = pump(chunks, [archive.codec.encoder()]) if compress else chunks
        archive.storage.put(target, (archive if encrypt else archive.raw()).encrypt(encoded), create_only=not overwrite)
    except ObjectExists:
        raise _in_the_way(target) from None
    return target


@contextlib.contextmanager
def _open(archive: Archive, name: str, *, decrypt: bool, decompress: bool) -> Iterator[Iterable[Chunk]]:
    opened = archive if decrypt else archive.raw()
    try:
        with archive.storage.open(stored_name(name)) as reader:
            if not decompress and opened.cipher is None:
                yield reader
            else:
                yield opened.decode_object(stored_name(name), _extension(name) if decompress else "", reader)
    except ObjectMissing:
        raise missing_object(archive, "download the file", name) from None


def _extension(name: str) -> str:
    """The codec's extension of a name; empty, with a warning, when it has none that is known."""
    base, dot, extension = name.rpartition("/")[2].rpartition(".")
    if base and dot and extension in READ_EXTENSIONS:
        return extension
    logger.warning("the extension of %s is no codec's: its bytes are kept as they are", name)
    return ""


# ---- removal and checks


def remove_objects(archive: Archive, prefix: str, *, all_versions: bool = False) -> int:
    """Remove an object, or else all below a folder of that name; `name/` is the folder alone. How many were removed.

    Where the storage keeps versions, they stay, unless all are asked for; then what was deleted before goes as well.
    Raises StorageError when there is neither object nor folder, and when a storage without versions is asked for them.
    """
    versions = archive.storage.versions() if isinstance(archive.storage, KeepsVersions) else None
    if all_versions:
        check_versions(archive)
    if all_versions and versions is not None:
        count = _remove(versions.delete, _versions_of(versions, prefix))
    else:
        names = (item.name for item in objects_of(archive, prefix))
        count = _remove(versions.hide if versions is not None else archive.storage.delete, names)
    if not count:
        raise StorageError(f'object or folder "{prefix}" does not exist')
    return count


def remove_version(archive: Archive, name: str, version: str) -> None:
    """Remove one version of an object, or the mark that it was deleted, for good. Raises StorageError."""
    check_versions(archive)
    versions = archive.storage.versions() if isinstance(archive.storage, KeepsVersions) else None
    found = [] if versions is None else [item for item in versions.of(stored_name(name)) if item.version == version]
    if versions is None or not found:
        raise StorageError(
            f'delete object "{name}" version "{version}": there is no such version in {archive.storage.url}',
            "st ls --all-versions lists them.",
        )
    versions.delete(found)


def _versions_of(versions: Versions, prefix: str) -> Iterator[ObjectVersion]:
    """All versions of what objects_of means."""
    name = prefix.rstrip("/")
    found = versions.of(stored_name(name)) if name and not prefix.endswith("/") else iter(())
    first = next(found, None)
    return versions.list(name) if first is None else chain([first], found)


def _remove(remove: Callable[[Iterable[Item]], None], items: Iterable[Item]) -> int:
    """Remove items, some at a time; how many there were."""
    count = 0
    rest = iter(items)
    while batch := list(islice(rest, REMOVED_AT_ONCE)):
        remove(batch)
        count += len(batch)
    return count


def objects_of(archive: Archive, prefix: str) -> Iterable[StoredObject]:
    """The object of a name, or else all below the folder of that name, in name order; `name/` is the folder alone."""
    name = prefix.rstrip("/")
    found = archive.storage.stat_many([stored_name(name)]) if name and not prefix.endswith("/") else []
    return found or archive.storage.list(name)


def check_read(archive: Archive, names: Sequence[str]) -> None:
    """Make sure that the storage can be listed and holds the named objects. Raises StorageError."""
    archive.storage.list_folder("")
    missing = [name for name in names if not archive.storage.stat_many([stored_name(name)])]
    if missing:
        raise StorageError(f"files are missing: {', '.join(missing)}")
    logger.info("Read check OK")


def check_write(archive: Archive) -> None:
    """Make sure that an object can be stored and removed. Raises StorageError."""
    name = os.urandom(16).hex()
    archive.put_bytes(name, b"test", create_only=True)
    archive.storage.delete([name])
    logger.info("Write check OK")


def _in_the_way(name: str) -> ObjectExists:
    return ObjectExists(
        f"check file overwrite: object {name} already exists. To overwrite it, add the -f flag", "Nothing was changed."
    )
