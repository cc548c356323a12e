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

    def __init__(self, push: "WalPush", path: str) -> None:
        self._push = push
        self._worker_count = push.config.integer("WALG_UPLOAD_CONCURRENCY", minimum=1) - 1
        limit = push.config.integer("TOTAL_BG_UPLOADED_LIMIT") - 1
        wanted = self._worker_count >= 1 and limit >= 1
        self._paths = deque(islice(waiting_files(push, path), limit) if wanted else ())
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        for number in range(min(self._worker_count, len(self._paths))):
            thread = threading.Thread(target=self._work, name=f"ahead-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._paths.clear()
        if isinstance(error, Interrupted):
            return  # the process ends now, and unfinished uploads with it
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        with contextlib.suppress(IndexError):  # nothing left
            while True:
                archive_ahead(self._push, self._paths.popleft())


def waiting_files(push: "WalPush", path: str) -> Iterator[str]:
    """Paths of the files to archive after path, most urgent first: the segments after it, then the rest that waits.

    Without those that are marked as archived.
    """
    directory, name = os.path.split(path)
    seen = {name}
    with contextlib.suppress(InvalidWal):  # no segment's name: it has no successor
        while is_ready(directory or ".", name := following_segment(name, push.segment_size)):
            seen.add(name)
            if not push.markers.holds(following := os.path.join(directory, name)):
                yield following
    try:
        names = ready_names(directory or ".")
    except OSError as error:
        logger.info("no uploads ahead: %s", error)
        return
    paths = (os.path.join(directory, name) for name in names if name not in seen)
    yield from (path for path in paths if not push.markers.holds(path))


def archive_ahead(push: "WalPush", path: str) -> None:
    """Archive a file before its turn, and mark it. A failure is only logged."""
    try:
        fingerprint = push.archive_file(path)
        if not _is_renamed(push, path):
            push.markers.write(os.path.basename(path), fingerprint)
    except Exception as error:  # noqa: BLE001 - the worker boundary: its turn will come
        logger.warning("could not archive %s ahead: %s", os.path.basename(path), error)


def _is_renamed(push: "WalPush", path: str) -> bool:
    """Tell PostgreSQL that a file is archived, if PG_READY_RENAME asks for that: then it never asks for it."""
    directory, name = os.path.split(path)
    # The last file of a BULK group is left for its turn: all entries before it are there by then.
    if not push.config.boolean("PG_READY_RENAME") or push.metadata.completes(name):
        return False
    push.metadata.store(path)
    try:
        rename_ready_to_done(directory or ".", name)
    except OSError as error:
        logger.warning("cannot rename the .ready file of %s: %s", name, error)
        return False
    return True
