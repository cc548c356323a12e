"""Fetches the files that a recovery asks for, and ahead of it the segments that follow, as far as it keeps asking.

Memory: WORKERS downloads, each as wal_fetch. Disk: as wal.prefetch.
"""

import itertools
import logging
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from functools import partial

from walpy import interrupts
from walpy.archive import Archive
from walpy.errors import ObjectMissing, WalpyError
from walpy.wal.fetch import STALLED_SECONDS, download_wal, take_prefetched
from walpy.wal.prefetch import FolderLock, Prefetcher, PrefetchFolder, following_names, remove_outside
from walpy.wal.segment import is_segment_name

WORKERS = 4
FIRST_DEPTH = 2  # segments to hold ready for a recovery that has just begun; doubled whenever it had to wait
FORGOTTEN_SECONDS = 60.0  # a recovery that asks for nothing for so long begins anew

logger = logging.getLogger(__name__)


class Downloads:
    """The downloads of one agent. Safe for threads."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._pool = ThreadPoolExecutor(WORKERS, "prefetch")
        self._lock = threading.Lock()
        self._downloads: dict[str, Future[None]] = {}
        self._locks: dict[str, FolderLock] = {}  # of the folders that are ours to work in, by their paths
        self._depth = FIRST_DEPTH
        self._last_request = time.monotonic()
        self._is_closed = False
        self._numbers = itertools.count()

    def fetch(self, name: str, destination: str) -> None:
        """Restore a WAL file to an absolute path. Raises as wal_fetch."""
        config = self._archive.config
        had_to_wait = is_segment_name(name) and self._await(PrefetchFolder.of(config, destination).finished(name))
        is_there = take_prefetched(config, name, destination)
        if not is_there:
            download_wal(self._archive, name, destination)
        if is_segment_name(name):
            self._note_demand(had_to_wait or not is_there)

    @contextmanager
    def staged(self, name: str, destination: str) -> Iterator[str]:
        """Restore a WAL file beside its absolute destination; yields where. Raises as wal_fetch.

        Whoever asked for the file gives it its name, if it still wants it then: PostgreSQL uses one name for all files,
        and a late answer must not replace the next one. What is left when the context ends is removed.
        """
        folder, base = os.path.split(destination)
        path = os.path.join(folder, f".{base}.walpy-agent.{os.getpid()}.{next(self._numbers)}")
        interrupts.unfinished_files.add(path)
        try:
            self.fetch(name, path)
            yield path
        finally:
            with suppress(FileNotFoundError):
                os.unlink(path)
            interrupts.unfinished_files.discard(path)

    def look_ahead(self, name: str, destination: str) -> None:
        """Begin to fetch the segments that follow name, which was fetched to destination. Never fails."""
        if not is_segment_name(name) or self._is_closed:
            return
        folder = PrefetchFolder.of(self._archive.config, destination)
        try:
            names = following_names(self._archive.config, name, folder) if folder.may_change else []
            if names and self._is_ours(folder):
                remove_outside(folder, name, names)
                self._start(folder, names[: self._depth])
        except (WalpyError, OSError) as error:
            logger.warning("no prefetch: %s", error)

    def state(self) -> dict[str, int]:
        """For people: how many segments are on their way, and how many are wanted."""
        with self._lock:
            return {"downloading_ahead": len(self._downloads), "prefetch_depth": self._depth}

    def is_idle(self) -> bool:
        """Whether nothing is under way."""
        return not self._downloads

    def close(self) -> None:
        """Begin nothing more, and let other processes prefetch; downloads that are under way go on."""
        self._is_closed = True
        with self._lock:
            while self._locks:
                self._locks.popitem()[1].close()

    def _await(self, path: str) -> bool:
        """Wait for a download that is under way, take a queued one back; whether there was one to wait for."""
        with self._lock:
            download = self._downloads.get(path)
        if download is None or download.done():
            return False
        if not download.cancel():
            wait([download], STALLED_SECONDS)  # take_prefetched waits on, as long as the file grows
        return True

    def _note_demand(self, had_to_wait: bool) -> None:
        with self._lock:
            now = time.monotonic()
            if now - self._last_request > FORGOTTEN_SECONDS:
                self._depth = FIRST_DEPTH
            elif had_to_wait:
                self._depth = min(2 * self._depth, self._archive.config.integer("WALG_DOWNLOAD_CONCURRENCY", minimum=1))
            self._last_request = now

    def _is_ours(self, folder: PrefetchFolder) -> bool:
        """Whether no other process prefetches into a folder; then it stays ours, as long as it is there."""
        with self._lock:
            known = self._locks.get(folder.path)
            if known and known.is_valid():
                return True
            if known:
                self._locks.pop(folder.path).close()
            lock = FolderLock(folder)
            if lock.is_ours:
                self._locks[folder.path] = lock
            else:
                lock.close()
            return lock.is_ours

    def _start(self, folder: PrefetchFolder, names: list[str]) -> None:
        with self._lock:
            for name in names:
                path = folder.finished(name)
                if path not in self._downloads:
                    self._downloads[path] = self._pool.submit(self._download, folder, name)
                    self._downloads[path].add_done_callback(partial(self._forget, path))

    def _forget(self, path: str, _download: Future[None]) -> None:
        self._downloads.pop(path, None)  # atomic: this may run while the lock is held

    def _download(self, folder: PrefetchFolder, name: str) -> None:
        if self._is_closed:
            return
        try:
            Prefetcher(self._archive, folder, []).download(name)
        except ObjectMissing:
            self._cancel_queued()  # the archive ends here, for now
        except Exception as error:  # noqa: BLE001 - the worker boundary: wal-fetch will meet it, or not
            logger.warning("cannot prefetch %s: %s", name, error)
            self._cancel_queued()

    def _cancel_queued(self) -> None:
        for download in list(self._downloads.values()):
            download.cancel()
