"""wal-prefetch: downloads the segments that recovery will ask for next, beside the one it just got.

WAL-G's layout: `<base>/.wal-g/prefetch/<segment>` once complete, `.../running/<segment>` before; base is
WALG_PREFETCH_DIR, else the directory of the destination. One prefetcher works in a folder at a time, told by a lock.
It ends on its own: after WALG_DOWNLOAD_CONCURRENCY segments, at the first that the archive lacks, after
LONGEST_SECONDS, or when the server of its data directory is gone.

Memory: WORKERS downloads, each as wal_fetch. Disk: LARGEST_TOTAL bytes, and one segment.
"""

import contextlib
import fcntl
import logging
import os
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple, Self

from walpy.errors import DataCorrupt, ObjectMissing, WalpyError
from walpy.wal.files import IncomingFile, is_being_written, is_same_file
from walpy.wal.local import WalDirectory, find_wal_directory
from walpy.wal.segment import configured_segment_size, following_segment, is_segment_name
from walpy.wal.target import check_fetched
from walpy.wal.validate import HEADER_SIZE

if TYPE_CHECKING:
    from walpy.archive import Archive
    from walpy.config import Config

WORKERS = 4  # more would only delay the segment that recovery needs first
LARGEST_TOTAL = 1 << 30  # bytes; of 1 GiB segments one is enough
FREE_SEGMENTS = 4  # segments for which the file system must keep room: PostgreSQL writes its own WAL there
CHECK_SIZE = 4 << 20  # bytes between two looks whether they are wanted still
LONGEST_SECONDS = 600.0  # no prefetcher lives longer

logger = logging.getLogger(__name__)


class PrefetchFolder(NamedTuple):
    """The prefetched files of one destination; directory: the WAL directory it lies in, if it does."""

    path: str
    directory: WalDirectory | None

    @classmethod
    def of(cls, config: "Config", destination: str) -> Self:
        """Folder that serves a destination."""
        base = config.text("WALG_PREFETCH_DIR") or os.path.dirname(os.path.abspath(destination))
        directory = find_wal_directory(destination, config.text("PGDATA"))
        return cls(os.path.join(base, ".wal-g", "prefetch"), directory)

    def finished(self, name: str) -> str:
        """Path of a segment that is complete."""
        return os.path.join(self.path, name)

    def running(self, name: str) -> str:
        """Path of a segment while it is written."""
        return os.path.join(self.path, "running", name)

    @property
    def may_change(self) -> bool:
        """Whether a wal-fetch may have files come and go here.

        Not for pg_rewind: it runs restore_command on a cluster that is down, and stops when files vanish from its WAL
        directory meanwhile.
        """
        directory = self.directory
        return directory is None or directory.is_served or not self.path.startswith(os.path.join(directory.path, ""))

    @property
    def lock(self) -> str:
        """Path of the file whose lock the folder's prefetcher holds."""
        return os.path.join(self.path, ".walpy.lock")


def is_prefetch_due(config: "Config", name: str, destination: str) -> bool:
    """Whether a prefetcher should be started after name was fetched to destination.

    False when half of what it would download is there already, or one is at work (then a later fetch starts it), or
    when nothing may change there.
    """
    if not is_segment_name(name):
        return False
    folder = PrefetchFolder.of(config, destination)
    if not folder.may_change:
        return False
    try:
        names = following_names(config, name, folder)
    except WalpyError as error:
        logger.warning("no prefetch: %s", error)
        return False
    missing = [name for name in names if not os.path.exists(folder.finished(name))]
    return 2 * len(missing) > len(names) and not is_being_written(folder.lock)


def wal_prefetch(archive: "Archive", name: str, location: str) -> None:
    """Download the segments that follow name; location is the destination that name was fetched to.

    Does nothing when another prefetcher works in the same folder. What fails is logged and left to wal-fetch.
    Raises InvalidWal when name is no segment's.
    """
    folder = PrefetchFolder.of(archive.config, location)
    names = following_names(archive.config, name, folder)
    if not names:
        return
    with contextlib.closing(FolderLock(folder)) as lock:
        if lock.is_ours:
            remove_outside(folder, name, names)
            Prefetcher(archive, folder, names).run()


def check_prefetched(config: "Config", name: str, path: str, directory: WalDirectory | None) -> None:
    """Raise DataCorrupt when a prefetched file cannot be the segment name; OSError when it cannot be read."""
    with open(path, "rb", buffering=0) as file:
        _check_complete(config, name, file.read(HEADER_SIZE), os.fstat(file.fileno()).st_size, directory)


def _check_complete(config: "Config", name: str, head: bytes, size: int, directory: WalDirectory | None) -> None:
    # Outside a data directory check_fetched only warns: then, as for WAL-G, the configured size has to do.
    if directory is None and size != configured_segment_size(config):
        raise DataCorrupt(f"{size} bytes are no WAL segment")
    check_fetched(name, head, size, directory)


def following_names(config: "Config", name: str, folder: PrefetchFolder) -> list[str]:
    """Segments to hold ready after name was fetched, in order; none when prefetch is off."""
    count = config.integer("WALG_DOWNLOAD_CONCURRENCY", minimum=1)
    if count == 1:
        return []
    size = _segment_size(config, folder)
    count = min(count, max(1, LARGEST_TOTAL // size))
    return [following_segment(name, size, offset) for offset in range(1, count + 1)]


def _segment_size(config: "Config", folder: PrefetchFolder) -> int:
    if folder.directory:
        with contextlib.suppress(WalpyError):
            return folder.directory.cluster().segment_size
    return configured_segment_size(config)


def remove_outside(folder: PrefetchFolder, name: str, names: list[str]) -> None:
    """Remove segments that recovery has passed by, or that are none of names, and what a kill left half-written."""
    for entry in os.listdir(folder.finished("")):
        if entry != name and entry not in names:
            _remove_segment(folder.finished(entry))
    for entry in os.listdir(folder.running("")):
        if not is_being_written(folder.running(entry)):
            _remove_segment(folder.running(entry))


def _remove_segment(path: str) -> None:
    """Remove a file called like a segment; others stay."""
    if is_segment_name(os.path.basename(path)):
        with contextlib.suppress(OSError):
            os.unlink(path)


class Prefetcher:
    """Downloads named segments into a folder, WORKERS at a time, in order of need."""

    def __init__(self, archive: "Archive", folder: PrefetchFolder, names: list[str]) -> None:
        self._archive = archive
        self._folder = folder
        self._names = deque(names)
        self._segment_size = _segment_size(archive.config, folder)
        self._deadline = time.monotonic() + LONGEST_SECONDS
        self._server = folder.directory if folder.directory and folder.directory.is_served else None

    def run(self) -> None:
        """Return when all are there, or the first failed to come and those under way have ended."""
        count = min(WORKERS, len(self._names))
        threads = [threading.Thread(target=self._work, name=f"prefetch-{n}", daemon=True) for n in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _work(self) -> None:
        with contextlib.suppress(IndexError):  # nothing left
            while True:
                name = self._names.popleft()
                try:
                    self.download(name)
                except ObjectMissing:
                    self._names.clear()  # the archive ends here, for now
                except Exception as error:  # noqa: BLE001 - the worker boundary: wal-fetch will meet it, or not
                    logger.warning("cannot prefetch %s: %s", name, error)
                    self._names.clear()

    def download(self, name: str) -> None:
        """Make sure that one segment is there. Raises ObjectMissing, DataCorrupt, WalpyError, OSError."""
        self._check_wanted()
        if os.path.exists(self._folder.finished(name)):
            return
        with self._archive.open_wal(name) as chunks:
            self._check_room()
            with IncomingFile(self._folder.running(name), self._folder.finished(name)) as file:
                checked = 0
                for chunk in chunks:
                    if file.size - checked >= CHECK_SIZE:
                        self._check_wanted()
                        checked = file.size
                    file.write(chunk)
                self._check_wanted()
                _check_complete(self._archive.config, name, file.head(), file.size, self._folder.directory)
                file.commit()
        logger.debug("prefetched %s", name)

    def _check_wanted(self) -> None:
        if time.monotonic() > self._deadline:
            raise WalpyError(f"prefetch has run for {LONGEST_SECONDS:.0f} seconds")
        if self._server and not self._server.is_served:
            raise WalpyError("the server has been stopped")

    def _check_room(self) -> None:
        status = os.statvfs(self._folder.path)
        if status.f_bavail * status.f_frsize < FREE_SEGMENTS * self._segment_size:
            raise WalpyError(f"not enough room in {self._folder.path!r} to prefetch")


class FolderLock:
    """Who may work in a folder: one at a time. Makes the folder. Raises OSError.

    is_ours: whether it is whoever made this object, until it is closed.
    """

    def __init__(self, folder: PrefetchFolder) -> None:
        os.makedirs(folder.running(""), mode=0o755, exist_ok=True)
        self._path = folder.lock
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.is_ours = True
        except BlockingIOError:
            self.is_ours = False

    def is_valid(self) -> bool:
        """Whether it is ours, and of the folder that is there now: somebody may have removed the other one."""
        return self.is_ours and is_same_file(self._descriptor, self._path)

    def close(self) -> None:
        """Let others work there."""
        os.close(self._descriptor)
