"""Single objects of an archive, by their stored names: what `walpy st` lists, reads, writes, removes and checks.

Output and exit codes as WAL-G's: what is missing is a StorageError here, since 74 is wal-fetch's.
Memory: a listing holds one row for each object that it shows; contents are streamed.
"""

import contextlib
import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import BinaryIO, Final, NamedTuple

from walpy.archive import Archive
from walpy.errors import ObjectExists, ObjectMissing, StorageError, UsageError, WalpyError
from walpy.layout import with_extension
from walpy.storage.base import READ_SIZE, Chunk, StoredObject, check_name, join
from walpy.stream.codecs import READ_EXTENSIONS
from walpy.stream.transform import pump

_TITLES: Final = ("type", "size", "last modified", "name")
_NO_TIME: Final = "0001-01-01 00:00:00 +0000 UTC"  # folders have none
_FILE_MODE: Final = 0o640

logger = logging.getLogger(__name__)


class Row(NamedTuple):
    """One line of a listing; modified_ns None: a folder."""

    name: str
    size: int = 0
    modified_ns: int | None = None


# ---- listing


def list_objects(archive: Archive, path: str = "", *, recursive: bool = False, glob: bool = False) -> str:
    """The table of a folder (the root when path is empty); with glob, of every folder that fits the pattern path."""
    if not glob:
        return _table(archive, _rows(archive, path, recursive=recursive))
    folders = _matching_folders(archive, path)
    return "".join(f"{name}:\n{_table(archive, _rows(archive, name, recursive=recursive))}\n" for name in folders)


def stat_object(archive: Archive, name: str) -> str:
    """The table of one object. Raises StorageError."""
    try:
        found = archive.storage.stat(_name(name))
    except ObjectMissing:
        raise _missing(archive, "stat object", name) from None
    return _table(archive, [Row(name, found.size, found.modified_ns)])


def _rows(archive: Archive, path: str, *, recursive: bool) -> list[Row]:
    """Folders first, names relative to path; recursive: objects alone, those of a folder before those below it."""
    folder = path.strip("/")
    cut = len(folder) + 1 if folder else 0
    if recursive:
        found = [Row(item.name[cut:], item.size, item.modified_ns) for item in archive.storage.list(folder)]
        return sorted(found, key=lambda row: (row.name.count("/"), row.name))
    children = archive.storage.list_folder(folder)
    slash = "/" if folder else ""  # as WAL-G shows them
    folders = [Row(f"{slash}{name[cut:]}/") for name in children.folders]
    return folders + [Row(item.name[cut:], item.size, item.modified_ns) for item in children.objects]


def _table(archive: Archive, rows: Sequence[Row]) -> str:
    is_local = archive.config.storage_kind() == "FILE"  # WAL-G shows local time for files, UTC for object stores
    cells = [_cells(row, is_local=is_local) for row in rows]
    widths = [max(map(len, column)) for column in zip(_TITLES[:3], *(cell[:3] for cell in cells), strict=True)]
    name_width = max((len(cell[3]) for cell in cells), default=0)
    head = [title.ljust(width) for title, width in zip(_TITLES, widths, strict=False)]
    lines = [" ".join([*head, _TITLES[3]]) + "\n"]
    for cell in cells:
        padded = [text.ljust(width) for text, width in zip(cell, widths, strict=False)]
        lines.append(" ".join([*padded, cell[3].ljust(name_width)]) + "  \n")  # two empty columns: version and note
    return "".join(lines)


def _cells(row: Row, *, is_local: bool) -> tuple[str, str, str, str]:
    if row.modified_ns is None:
        return "dir", "0", _NO_TIME, row.name
    return "obj", str(row.size), _moment(row.modified_ns, is_local=is_local), row.name


def _moment(nanoseconds: int, *, is_local: bool) -> str:
    """A moment as Go prints it by default: the fraction without trailing zeros, offset and zone."""
    seconds, fraction = divmod(nanoseconds, 10**9)
    parts = time.localtime(seconds) if is_local else time.gmtime(seconds)
    digits = f"{fraction:09d}".rstrip("0")
    dot = "." if digits else ""
    zone = time.strftime("%z %Z", parts) if is_local else "+0000 UTC"
    return time.strftime("%Y-%m-%d %H:%M:%S", parts) + f"{dot}{digits} {zone}"


# ---- patterns


def _matching_folders(archive: Archive, pattern: str) -> list[str]:
    """Folders whose names fit a pattern, part by part."""
    found = [""]
    for part in pattern.strip("/").split("/"):
        fits = pattern_fits(part)
        found = [
            name
            for folder in found
            for name in archive.storage.list_folder(folder).folders
            if fits(name.rpartition("/")[2])
        ]
    return found


def matching_objects(archive: Archive, pattern: str) -> list[str]:
    """Objects whose names fit a pattern, part by part. Raises StorageError when none does."""
    head, _, last = pattern.strip("/").rpartition("/")
    fits = pattern_fits(last)
    folders = _matching_folders(archive, head) if head else [""]
    names = [item.name for folder in folders for item in archive.storage.list_folder(folder).objects]
    found = [name for name in names if fits(name.rpartition("/")[2])]
    if not found:
        raise StorageError(f"no object fits {pattern!r}")
    return found


def pattern_fits(pattern: str) -> Callable[[str], bool]:
    """A test for one part of a name: `*` any text, `?` one character, `[a-z]`, `[^a-z]`, backslash: literally.

    Raises UsageError for a pattern that makes no sense. Source: Go's path.Match.
    """
    try:
        expression = re.compile("".join(_expressions(pattern)), re.DOTALL)
    except re.error:
        raise UsageError(f"syntax error in pattern: {pattern!r}") from None
    return lambda text: expression.fullmatch(text) is not None


def _expressions(pattern: str) -> Iterator[str]:
    position = 0
    while position < len(pattern):
        character = pattern[position]
        position += 1
        if character == "*":
            yield ".*"
        elif character == "?":
            yield "."
        elif character == "[":
            end = pattern.find("]", position + 1)
            if end < 0:
                raise UsageError(f"syntax error in pattern: {pattern!r}")
            yield f"[{pattern[position:end]}]"
            position = end + 1
        elif character == "\\":
            if position == len(pattern):
                raise UsageError(f"syntax error in pattern: {pattern!r}")
            yield re.escape(pattern[position])
            position += 1
        else:
            yield re.escape(character)


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
    compressed = with_extension(_name(name), archive.codec.extension)
    target = compressed if compress else _name(name)
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
        with archive.storage.open(_name(name)) as reader:
            if not decompress and opened.cipher is None:
                yield reader
            else:
                yield opened.decode_object(_name(name), _extension(name) if decompress else "", reader)
    except ObjectMissing:
        raise _missing(archive, "download the file", name) from None


def _extension(name: str) -> str:
    """The codec's extension of a name; empty, with a warning, when it has none that is known."""
    base, dot, extension = name.rpartition("/")[2].rpartition(".")
    if base and dot and extension in READ_EXTENSIONS:
        return extension
    logger.warning("the extension of %s is no codec's: its bytes are kept as they are", name)
    return ""


# ---- removal and checks


def remove_objects(archive: Archive, prefix: str) -> int:
    """Remove an object, or else all below a folder of that name; `name/` is the folder alone. How many were removed.

    Raises StorageError when there is neither.
    """
    names = [item.name for item in objects_of(archive, prefix)]
    if not names:
        raise StorageError(f'object or folder "{prefix}" does not exist')
    archive.storage.delete(names)
    return len(names)


def objects_of(archive: Archive, prefix: str) -> Iterable[StoredObject]:
    """The object of a name, or else all below the folder of that name, in name order; `name/` is the folder alone."""
    name = prefix.rstrip("/")
    found = archive.storage.stat_many([_name(name)]) if name and not prefix.endswith("/") else []
    return found or archive.storage.list(name)


def check_read(archive: Archive, names: Sequence[str]) -> None:
    """Make sure that the storage can be listed and holds the named objects. Raises StorageError."""
    archive.storage.list_folder("")
    missing = [name for name in names if not archive.storage.stat_many([_name(name)])]
    if missing:
        raise StorageError(f"files are missing: {', '.join(missing)}")
    logger.info("Read check OK")


def check_write(archive: Archive) -> None:
    """Make sure that an object can be stored and removed. Raises StorageError."""
    name = os.urandom(16).hex()
    archive.put_bytes(name, b"test", create_only=True)
    archive.storage.delete([name])
    logger.info("Write check OK")


def _name(name: str) -> str:
    joined = join(name)
    check_name(joined)
    return joined


def _missing(archive: Archive, doing: str, name: str) -> StorageError:
    return StorageError(f'{doing} "{name}": there is no such object in {archive.storage.url}')


def _in_the_way(name: str) -> ObjectExists:
    return ObjectExists(
        f"check file overwrite: object {name} already exists. To overwrite it, add the -f flag", "Nothing was changed."
    )
