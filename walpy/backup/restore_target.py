"""Is it safe to restore there: empty directories, apart from each other and from the archive, with enough room."""

import logging
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from walpy.archive import Archive
from walpy.backup import journal
from walpy.backup.model import Tablespace
from walpy.errors import BackupError, UsageError

_COMPRESSING: Final = frozenset({"btrfs", "zfs", "bcachefs"})  # free bytes say little about what fits

logger = logging.getLogger(__name__)


def check_empty(directory: str, *, ignored: Collection[str] = ()) -> None:
    """Raise BackupError, in WAL-G's words, when a directory has entries or cannot be read; a missing one is fine.

    ignored: names of entries that may be there.
    """
    try:
        names = sorted(name for name in os.listdir(directory) if name not in ignored)
    except FileNotFoundError:
        return
    except OSError as error:
        raise BackupError(f"cannot restore into {directory!r}: {error.strerror}") from error
    for name in names:
        logger.info("found file '%s' in directory: '%s'", os.path.join(directory, name), directory)
    if names:
        hint = "Restore into a new directory; remove the old one's content only when nothing in it is needed any more."
        if journal.exists(directory):
            hint = f"An interrupted restore left it; the same command with --resume finishes it. {hint}"
        raise BackupError(f"Directory {directory} for delta base must be empty", hint)


def check_apart(destination: str, tablespaces: Sequence[Tablespace], archive_folder: str) -> None:
    """Raise UsageError when two of the places lie in each other.

    archive_folder: where a file storage keeps the archive, empty for others.
    """
    places = {"destination": destination}
    places.update((f"tablespace {entry.name}", entry.location) for entry in tablespaces)
    if archive_folder:
        places["archive"] = archive_folder
    for what, place in places.items():
        for other, folder in places.items():
            if what != other and _is_inside(place, folder):
                raise UsageError(
                    f"{what} {place!r} is inside {other} {folder!r}",
                    "Choose a destination elsewhere, and give tablespaces other places with --restore-spec.",
                )


def check_places(
    archive: Archive, destination: str, tablespaces: Sequence[Tablespace], needed: int, *, is_resumed: bool = False
) -> None:
    """Raise UsageError or BackupError unless the places lie apart, tablespaces are empty, and needed bytes fit.

    is_resumed: an interrupted restore has found that, and has begun to fill them.
    """
    is_file_storage = archive.config.storage_kind() == "FILE"
    check_apart(destination, tablespaces, archive.storage.url.removeprefix("file://") if is_file_storage else "")
    if is_resumed:
        return
    for entry in tablespaces:
        check_empty(entry.location)
    check_free_space([destination, *(entry.location for entry in tablespaces)], needed)


def _is_inside(path: str, folder: str) -> bool:
    real_path, real_folder = os.path.realpath(path), os.path.realpath(folder)
    return os.path.commonpath([real_path, real_folder]) == real_folder


def check_free_space(directories: Iterable[str], needed: int) -> None:
    """Raise BackupError when the file systems of the directories together have less room than needed bytes.

    A backup does not tell how much of it goes into which tablespace, so with several file systems only their sum is
    compared. Where the file system compresses, a shortage is only a warning.
    """
    room: dict[int, int] = {}
    existing = [_existing_parent(directory) for directory in directories]
    for directory in existing:
        status = os.statvfs(directory)
        free = status.f_bfree if os.geteuid() == 0 else status.f_bavail
        room[os.stat(directory).st_dev] = free * status.f_frsize
    free_bytes = sum(room.values())
    if free_bytes >= needed:
        return
    message = f"not enough room: the backup needs {needed} bytes, and {', '.join(existing)} has {free_bytes} free"
    if may_compress(existing):
        logger.warning("%s; going on because the file system may compress", message)
        return
    raise BackupError(message, "Make room, or restore to a larger disk; nothing has been written yet.")


def may_compress(directories: Iterable[str]) -> bool:
    """Whether a directory (or, when it is absent, its parent) is on a file system that compresses."""
    types = _file_system_types()
    return any(_type_of(_existing_parent(directory), types) in _COMPRESSING for directory in directories)


def _existing_parent(directory: str) -> str:
    while not os.path.isdir(directory):
        directory = os.path.dirname(directory)
    return directory


def _file_system_types() -> dict[str, str]:
    """File system types by mount point; empty where the kernel does not tell."""
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as file:
            return {fields[1]: fields[2] for fields in map(str.split, file) if len(fields) > 2}
    except OSError:
        return {}


def _type_of(directory: str, types: Mapping[str, str]) -> str:
    path = os.path.realpath(directory)
    while path not in types and path != "/":
        path = os.path.dirname(path)
    return types.get(path, "")


def make_destination(directory: str) -> None:
    """Make the destination unless it exists; PostgreSQL wants it to be closed to others."""
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
    except OSError as error:
        raise BackupError(f"cannot make {error.filename!r}: {error.strerror}") from error
