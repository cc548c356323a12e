"""Uploads ahead: while wal-push archives its file, threads archive further ones that wait in archive_status.

Never fails the command: a file that could not be archived ahead is archived, or refused, when its turn comes.
"""

import contextlib
import logging
import os
import threading
from collections import deque
from collections.abc import Iterator
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Self

from walpy.errors import Interrupted, InvalidWal
from walpy.wal.segment import following_segment
from walpy.wal.status import is_ready, ready_names, rename_ready_to_done

if TYPE_CHECKING:
    from walpy.wal.push import WalPush

logger = logging.getLogger(__name__)


class UploadAhead:
    """Context manager that uploads ahead until it is left; then waits for the uploads that are under way.

    path: the file whose turn it is. As in WAL-G that file counts: WALG_UPLOAD_CONCURRENCY - 1 threads upload at most
    TOTAL_BG_UPLOADED_LIMIT - 1 files. Without a file that waits, no thread starts.
    """

    def __init__(self, push: "WalPush", path: str, segment_size: int) -> None:
        self._push = push
        self._directory = os.path.dirname(path)
        self._rename = push.config.boolean("PG_READY_RENAME")
        self._worker_count = push.config.integer("WALG_UPLOAD_CONCURRENCY", minimum=1) - 1
        limit = push.config.integer("TOTAL_BG_UPLOADED_LIMIT") - 1
        wanted = self._worker_count >= 1 and limit >= 1
        candidates = self._candidates(os.path.basename(path), segment_size) if wanted else iter(())
        self._names = deque(islice(candidates, max(limit, 0)))
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        for number in range(min(self._worker_count, len(self._names))):
            thread = threading.Thread(target=self._work, name=f"ahead-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._names.clear()
        if isinstance(error, Interrupted):
            return  # the process ends now, and unfinished uploads with it
        for thread in self._threads:
            thread.join()

    def _candidates(self, name: str, segment_size: int) -> Iterator[str]:
        """Files to upload, most urgent first: the segments after name, then the rest of archive_status."""
        directory, seen = self._directory or ".", {name}
        with contextlib.suppress(InvalidWal):  # no segment's name: it has no successor
            while is_ready(directory, name := following_segment(name, segment_size)):
                seen.add(name)
                if not self._is_marked(name):
                    yield name
        try:
            names = ready_names(directory)
        except OSError as error:
            logger.info("no uploads ahead: %s", error)
            return
        yield from (name for name in names if name not in seen and not self._is_marked(name))

    def _is_marked(self, name: str) -> bool:
        return self._push.markers.holds(os.path.join(self._directory, name))

    def _work(self) -> None:
        with contextlib.suppress(IndexError):  # nothing left
            while True:
                name = self._names.popleft()
                try:
                    self._upload(name)
                except Exception as error:  # noqa: BLE001 - the worker boundary: its turn will come
                    logger.warning("could not archive %s ahead: %s", name, error)

    def _upload(self, name: str) -> None:
        path = os.path.join(self._directory, name)
        fingerprint = self._push.archive_file(path)
        # The last file of a BULK group is left for its turn: all entries before it are there by then.
        if self._rename and not self._push.metadata.completes(name):
            self._push.metadata.store(path)  # PostgreSQL will not ask for this file again
            try:
                rename_ready_to_done(self._directory or ".", name)
            except OSError as error:
                logger.warning("cannot rename the .ready file of %s: %s", name, error)
            else:
                return
        self._push.markers.write(name, fingerprint)
