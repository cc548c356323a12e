"""What `walpy st ls` and `st stat` print: WAL-G's tables of objects, and the patterns that name several.

Memory: one row for each object that is shown.
"""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from walpy.archive import Archive
from walpy.errors import ObjectMissing, StorageError, UsageError
from walpy.storage.base import KeepsVersions, ObjectVersion, Versions, check_name, join

_TITLES: Final = ("type", "size", "last modified", "name")
_NO_TIME: Final = "0001-01-01 00:00:00 +0000 UTC"  # folders have none


class Row(NamedTuple):
    """One line of a listing; modified_ns None: a folder. version and note: of an object that has several versions."""

    name: str
    size: int = 0
    modified_ns: int | None = None
    version: str = ""
    note: str = ""


# ---- listing


def list_objects(
    archive: Archive, path: str = "", *, recursive: bool = False, glob: bool = False, all_versions: bool = False
) -> str:
    """The table of a folder (the root when path is empty); with glob, of every folder that fits the pattern path.

    all_versions: what was replaced and deleted, too. Raises StorageError where the storage keeps none.
    """
    rows = _version_rows if all_versions else _rows
    if not glob:
        return _table(archive, rows(archive, path, recursive=recursive))
    folders = _matching_folders(archive, path)
    return "".join(f"{name}:\n{_table(archive, rows(archive, name, recursive=recursive))}\n" for name in folders)


def stat_object(archive: Archive, name: str) -> str:
    """The table of one object. Raises StorageError."""
    try:
        found = archive.storage.stat(stored_name(name))
    except ObjectMissing:
        raise missing_object(archive, "stat object", name) from None
    return _table(archive, [Row(name, found.size, found.modified_ns)])


def _rows(archive: Archive, path: str, *, recursive: bool) -> list[Row]:
    """Folders first, names relative to path; recursive: objects alone, those of a folder before those below it."""
    folder = path.strip("/")
    cut = len(folder) + 1 if folder else 0
    if recursive:
        found = [Row(item.name[cut:], item.size, item.modified_ns) for item in archive.storage.list(folder)]
        return sorted(found, key=lambda row: (row.name.count("/"), row.name))
    children = archive.storage.list_folder(folder)
    folders = [_folder_row(archive, folder, name) for name in children.folders]
    return folders + [Row(item.name[cut:], item.size, item.modified_ns) for item in children.objects]


def _version_rows(archive: Archive, path: str, *, recursive: bool) -> list[Row]:
    """As _rows, with a line for each version, an object's newest first."""
    versions = check_versions(archive)
    if versions is None:
        return _rows(archive, path, recursive=recursive)
    folder = path.strip("/")
    cut = len(folder) + 1 if folder else 0
    names = () if recursive else versions.list_folders(folder)
    folders = [_folder_row(archive, folder, name) for name in names]
    found = [
        Row(item.name[cut:], item.size, item.modified_ns, item.version, _note(item))
        for item in versions.list(folder, recursive=recursive)
    ]
    return folders + sorted(found, key=lambda row: (row.name.count("/"), row.name))


def _folder_row(archive: Archive, parent: str, name: str) -> Row:
    """As WAL-G shows a folder in another one: in object stores its name, elsewhere with a slash before it."""
    is_object_store = archive.config.storage_kind() in ("S3", "GS", "AZ")
    slash = "/" if parent and not is_object_store else ""
    return Row(f"{slash}{name.rpartition('/')[2]}/")


def _note(item: ObjectVersion) -> str:
    words = [word for word, counts in (("LATEST", item.is_latest), ("DELETE", item.is_deletion)) if counts]
    return " ".join(words)


def check_versions(archive: Archive) -> Versions | None:
    """The versions that a storage keeps; None where it could, and is not set up to. Raises StorageError elsewhere."""
    if not isinstance(archive.storage, KeepsVersions):
        raise StorageError(
            f"{archive.storage.url} has no versions of objects that walpy knows of",
            "Only S3 buckets have; leave out --all-versions and --version-id.",
        )
    return archive.storage.versions()


def _table(archive: Archive, rows: Sequence[Row]) -> str:
    is_local = archive.config.storage_kind() == "FILE"  # WAL-G shows local time for files, UTC for object stores
    cells = [_cells(row, is_local=is_local) for row in rows]
    widths = [max(map(len, column)) for column in zip(_TITLES[:3], *(cell[:3] for cell in cells), strict=True)]
    name_width, version_width = (max((len(cell[place]) for cell in cells), default=0) for place in (3, 4))
    head = [title.ljust(width) for title, width in zip(_TITLES, widths, strict=False)]
    lines = [" ".join([*head, _TITLES[3]]) + "\n"]
    for *first, name, version, note in cells:
        padded = [text.ljust(width) for text, width in zip(first, widths, strict=True)]
        lines.append(" ".join([*padded, name.ljust(name_width), version.ljust(version_width), note]) + "\n")
    return "".join(lines)


def _cells(row: Row, *, is_local: bool) -> tuple[str, str, str, str, str, str]:
    if row.modified_ns is None:
        return "dir", "0", _NO_TIME, row.name, "", ""
    moment = _moment(row.modified_ns, is_local=is_local)
    return "obj", str(row.size), moment, row.name, row.version, row.note


def _moment(nanoseconds: int, *, is_local: bool) -> str:
    """A moment as Go prints it by default: the fraction without trailing zeros, offset and zone."""
    seconds, fraction = divmod(nanoseconds, 10**9)
    parts = time.localtime(seconds) if is_local else time.gmtime(seconds)
    digits = f"{fraction:09d}".rstrip("0")
    dot = "." if digits else ""
    zone = time.strftime("%z %Z", parts) if is_local else "+0000 UTC"
    return time.strftime("%Y-%m-%d %H:%M:%S", parts) + f"{dot}{digits} {zone}"


# ---- names


def stored_name(name: str) -> str:
    """A name as people write it (slashes at its ends, doubled ones) as it is stored. Raises StorageError."""
    joined = join(name)
    check_name(joined)
    return joined


def missing_object(archive: Archive, doing: str, name: str) -> StorageError:
    """The error for an object that is not there."""
    return StorageError(f'{doing} "{name}": there is no such object in {archive.storage.url}')


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
    return _or_none([name for name in _matching(archive, pattern) if not name.endswith("/")], pattern)


def matching_names(archive: Archive, pattern: str) -> list[str]:
    """The same, then the folders (`name/`) whose names fit. Raises StorageError when neither does."""
    return _or_none(_matching(archive, pattern), pattern)


def _matching(archive: Archive, pattern: str) -> list[str]:
    head, _, last = pattern.strip("/").rpartition("/")
    fits = pattern_fits(last)
    children = [archive.storage.list_folder(folder) for folder in (_matching_folders(archive, head) if head else [""])]
    names = [] if pattern.endswith("/") else [item.name for child in children for item in child.objects]
    found = [name for name in names if fits(name.rpartition("/")[2])]
    return found + [f"{name}/" for child in children for name in child.folders if fits(name.rpartition("/")[2])]


def _or_none(found: list[str], pattern: str) -> list[str]:
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
