"""Archives the files that PostgreSQL asks for, and ahead of it those that wait, in threads that outlive a request.

Memory: for each of WORKERS uploads what wal.push states: 1 MiB, the codec's state and the storage's part (S3: the
compressed segment). Segments above 16 MiB have fewer workers: SIZE_AHEAD bytes of WAL are under way at most.
"""

import os
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import NamedTuple

from walpy.agent.connection import log_to, tell
from walpy.archive import Archive
from walpy.wal.ahead import archive_ahead, waiting_files
from walpy.wal.push import WalPush
from walpy.wal.status import is_ready

WORKERS = 4
SIZE_AHEAD = 64 << 20  # bytes of WAL
REMEMBERED = 64  # files asked for; PostgreSQL says a moment later only that they no longer wait


class _Upload(NamedTuple):
    """A file that is, or was, archived ahead; lines: what was logged meanwhile, told at its turn."""

    future: "Future[None]"
    lines: list[str]


class Uploads:
    """The uploads of one agent. Safe for threads."""

    def __init__(self, archive: Archive) -> None:
        config = archive.config
        self._archive = archive
        self._worker_count = min(WORKERS, config.integer("WALG_UPLOAD_CONCURRENCY", minimum=1) - 1)
        self._limit = config.integer("TOTAL_BG_UPLOADED_LIMIT") - 1
        self._pool = ThreadPoolExecutor(max(1, self._worker_count), "ahead")
        self._lock = threading.Lock()
        self._uploads: dict[str, _Upload] = {}
        self._requested: deque[str] = deque(maxlen=REMEMBERED)
        self._running = 0
        self._is_closed = False

    def push(self, path: str) -> None:
        """Archive the file that PostgreSQL asks for; path is absolute. Raises as wal_push."""
        push = WalPush(self._archive, path)
        push.announce()
        self._requested.append(path)
        self._finish_ahead(path)
        if push.acknowledge_marked(path):
            self._start_more(push, path)
        else:
            push.archive_requested(path, lambda: self._looking_ahead(push, path))

    def state(self) -> dict[str, int]:
        """For people: how many files are under way, and how many archived ahead of their turn."""
        with self._lock:
            return {"uploading_ahead": self._running, "uploaded_ahead": len(self._uploads) - self._running}

    def is_idle(self) -> bool:
        """Whether nothing is under way."""
        return self._running == 0

    def close(self) -> None:
        """Begin nothing more; uploads that are under way go on."""
        self._is_closed = True

    def _finish_ahead(self, path: str) -> None:
        """Wait for the upload of a file that has begun already, and take a queued one back."""
        with self._lock:
            upload = self._uploads.get(path)
        if upload is None:
            return
        if not upload.future.cancel():
            wait([upload.future])
        with self._lock:
            if self._uploads.pop(path, None) and upload.future.cancelled():
                self._running -= 1
        for line in upload.lines:
            tell(line)

    @contextmanager
    def _looking_ahead(self, push: WalPush, path: str) -> Iterator[None]:
        self._start_more(push, path)
        yield

    def _start_more(self, push: WalPush, path: str) -> None:
        """Begin to archive the files that wait behind path, as far as there are idle workers."""
        if self._worker_count < 1 or self._limit < 1 or self._is_closed:
            return
        workers = max(1, min(self._worker_count, SIZE_AHEAD // push.segment_size))
        with self._lock:
            if self._running >= workers or not self._has_room():
                return
            for following in waiting_files(push, path):
                if following not in self._uploads and following not in self._requested:
                    self._start(push, following)
                    if self._running >= workers or len(self._uploads) >= self._limit:
                        return

    def _has_room(self) -> bool:
        if len(self._uploads) >= self._limit:  # forget what PostgreSQL no longer asks for
            done = [path for path, upload in self._uploads.items() if upload.future.done()]
            for path in done:
                if not is_ready(*os.path.split(path)):
                    del self._uploads[path]
        return len(self._uploads) < self._limit

    def _start(self, push: WalPush, path: str) -> None:
        lines: list[str] = []
        self._running += 1
        self._uploads[path] = _Upload(self._pool.submit(self._archive_ahead, push, path, lines), lines)

    def _archive_ahead(self, push: WalPush, path: str, lines: list[str]) -> None:
        try:
            with log_to(lines.append):
                archive_ahead(push, path)
        finally:
            with self._lock:
                self._running -= 1
        self._start_more(push, path)
