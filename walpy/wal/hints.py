"""What wal-fetch remembers from one process to the next, so that it asks the storage no more than it has to.

One line each: the archive, the suffix of the object that was found last, the file that was missed last. They order
requests and answer none (see archive.WalHints): lost, old or wrong ones cost a request, and nothing else.
"""

import contextlib
import logging
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from walpy.wal.identity import archive_url
from walpy.wal.prefetch import PrefetchFolder
from walpy.wal.status import replace_file

if TYPE_CHECKING:
    from walpy.archive import Archive
    from walpy.config import Config

FILE = ".walpy.hints"  # beside the prefetched files; WAL-G has no file of that name
LINES = 3

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def remembered(archive: "Archive", destination: str) -> Iterator[None]:
    """Give an archive what an earlier fetch to this destination found out, and keep what this one does.

    Only below a WAL directory of a data directory, or WALG_PREFETCH_DIR: nowhere else comes a next fetch.
    """
    path = _path(archive.config, destination)
    if path is None:
        yield
        return
    unknown = _text(archive)
    stored = _read(path)
    if archive.hints.is_blank and stored:
        _load(archive, stored)
    try:
        yield
    finally:
        found = _text(archive)
        if found != (stored or unknown):
            _write(path, found)


def _path(config: "Config", destination: str) -> str | None:
    folder = PrefetchFolder.of(config, destination)
    if folder.directory is None and not config.text("WALG_PREFETCH_DIR"):
        return None
    return os.path.join(folder.path, FILE)


def _text(archive: "Archive") -> str:
    return f"{archive_url(archive.config)}\n{archive.hints.suffix}\n{archive.hints.last_missed}\n"


def _load(archive: "Archive", text: str) -> None:
    url, suffix, missed = text.splitlines()
    if url == archive_url(archive.config):
        archive.hints.suffix = suffix
        if missed:
            archive.hints.note_missed(missed)


def _read(path: str) -> str:
    """What is kept; empty: nothing of use."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError):
        return ""
    return text if text.count("\n") == LINES and text.endswith("\n") else ""


def _write(path: str, text: str) -> None:
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        replace_file(path, text.encode())
    except OSError as error:
        logger.debug("cannot keep hints in %s: %s", path, error)
