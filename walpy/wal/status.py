"""Local status of WAL files: PostgreSQL's archive_status, and markers of what was archived ahead of its turn.

A marker says that a file is in the archive already, so that wal-push has nothing left to do when PostgreSQL asks for
it. Markers lie where WAL-G keeps its own, under the same names for segments, and WAL-G takes ours for its. Ours hold
what was archived, where to, and are believed only while all of it still holds; WAL-G's are empty and never believed.
"""

import contextlib
import json
import logging
import os

from walpy.wal.files import Fingerprint

READY = ".ready"
DONE = ".done"
STATUS_FOLDER = "archive_status"  # PostgreSQL's, below the WAL directory
MARKER_FOLDER = "walg_archive_status"  # WAL-G's, below the state folder
MARKER_VERSION = 1

logger = logging.getLogger(__name__)


def is_ready(wal_directory: str, name: str) -> bool:
    """Whether PostgreSQL waits for a WAL file to be archived."""
    return os.path.exists(os.path.join(wal_directory, STATUS_FOLDER, name + READY))


def ready_names(wal_directory: str) -> list[str]:
    """WAL files that wait to be archived, in name order. Raises OSError when there is no archive_status."""
    names = os.listdir(os.path.join(wal_directory, STATUS_FOLDER))
    return sorted(name.removesuffix(READY) for name in names if name.endswith(READY))


def rename_ready_to_done(wal_directory: str, name: str) -> None:
    """Tell PostgreSQL that a WAL file is archived. Raises OSError."""
    status = os.path.join(wal_directory, STATUS_FOLDER, name)
    os.rename(status + READY, status + DONE)


class Markers:
    """Markers of one state folder (None: no place for them, so nothing is ever marked) for one archive.

    archive_url: where the files went; a marker for another archive is not believed.
    """

    def __init__(self, state: str | None, archive_url: str) -> None:
        self.folder = os.path.join(state, MARKER_FOLDER) if state else None
        self._archive_url = archive_url

    def holds(self, path: str) -> bool:
        """Whether the file at path, as it is now, is marked as archived."""
        if self.folder is None:
            return False
        try:
            with open(os.path.join(self.folder, os.path.basename(path)), "rb") as file:
                marker = json.loads(file.read() or b"null")
            return bool(marker == self._document(Fingerprint.of(os.stat(path))))
        except (OSError, ValueError):
            return False  # none, or not ours: the file is archived again, and found equal

    def write(self, name: str, fingerprint: Fingerprint) -> None:
        """Mark a WAL file as archived, with its fingerprint of then. A failure is only logged."""
        if self.folder is None:
            return
        path = os.path.join(self.folder, name)
        try:
            os.makedirs(self.folder, exist_ok=True)
            replace_file(path, json.dumps(self._document(fingerprint)).encode())
        except OSError as error:
            logger.warning("cannot mark %s as archived: %s", name, error)

    def remove(self, name: str) -> None:
        """Forget what is marked for a WAL file, by walpy or by WAL-G. A failure is only logged."""
        if self.folder is None:
            return
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(self.folder, name))
            # WAL-G cuts the last extension off, so that its 00000002 stands for 00000002.history, and a segment's
            # marker for the partial one as well. Its markers are the empty ones.
            foreign = os.path.join(self.folder, os.path.splitext(name)[0])
            with contextlib.suppress(FileNotFoundError):
                if os.path.getsize(foreign) == 0:
                    os.unlink(foreign)
        except OSError as error:
            logger.warning("cannot remove the marker of %s: %s", name, error)

    def _document(self, fingerprint: Fingerprint) -> dict[str, object]:
        return {"walpy": MARKER_VERSION, "archive": self._archive_url, **fingerprint._asdict()}


def replace_file(path: str, data: bytes) -> None:
    """Write a small file in one step; not synced: whoever reads it copes with its absence. Raises OSError.

    Safe among the threads of one process as long as no two write the same path.
    """
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with open(temporary, "wb") as file:
            file.write(data)
        os.rename(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def forget_oldest(folder: str, most: int) -> None:
    """Remove the files of a folder that were changed first, so that at most so many stay. Raises OSError."""
    with os.scandir(folder) as entries:
        paths = [entry.path for entry in entries]
    if len(paths) <= most:
        return
    moments: dict[str, float] = {}
    for path in paths:
        with contextlib.suppress(FileNotFoundError):  # another thread forgets too
            moments[path] = os.stat(path).st_mtime
    for path in sorted(moments, key=lambda path: (moments[path], path))[: len(moments) - most]:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
