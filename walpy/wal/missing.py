"""wal-push --missing: archives the complete WAL files of a WAL directory that the archive does not hold.

For a server whose predecessor could not archive its last segments before it was gone: a promoted standby has received
them, and PostgreSQL takes them for archived. Also for an archive that lost something while the server still has it.

A file is complete when PostgreSQL has noted it in archive_status, or has begun the segment that follows on the same
timeline. Recycled segments, which hold another place's content under a name to come, are never taken.
"""

import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import TYPE_CHECKING

from walpy.errors import InvalidWal, UsageError, WalpyError
from walpy.wal.files import SourceFile
from walpy.wal.inventory import archived_names
from walpy.wal.local import find_wal_directory, wal_folder
from walpy.wal.push import WalPush
from walpy.wal.segment import WalKind, following_segment, wal_kind
from walpy.wal.status import DONE, READY, STATUS_FOLDER

if TYPE_CHECKING:
    from walpy.archive import Archive

logger = logging.getLogger(__name__)


def push_missing(archive: "Archive", directory: str) -> list[str]:
    """Archive what is missing, in name order; the names of what was.

    directory: a data directory, or its WAL directory. Looks at names in the archive, not at contents, with one listing;
    a running archiver does no harm. Raises UsageError for any other directory, and for the first file that cannot be
    archived as wal_push; those before it are in the archive then.
    """
    folder = wal_directory(directory)
    push = WalPush(archive, os.path.join(folder, "any"))
    missing = dict.fromkeys(sorted(complete_files(push, folder)))
    for name in archived_names(archive):
        missing.pop(name, None)
    if not missing:
        logger.info("No WAL files are missing")
        return []
    push.announce()
    push.claim()
    with ThreadPoolExecutor(archive.config.integer("WALG_UPLOAD_CONCURRENCY", minimum=1), "missing") as pool:
        uploads = [pool.submit(push.archive_file, os.path.join(folder, name)) for name in missing]
        try:
            for upload in uploads:
                upload.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    logger.info("Archived %d WAL files that were missing", len(missing))
    return list(missing)


def wal_directory(directory: str) -> str:
    """The WAL directory of a data directory, or itself. Raises UsageError when it is neither."""
    for folder in (directory, wal_folder(directory)):
        if folder and find_wal_directory(os.path.join(folder, "any"), directory) is not None and os.path.isdir(folder):
            return folder
    raise UsageError(f"{directory!r} is neither a data directory nor the WAL directory of one")


def complete_files(push: WalPush, folder: str) -> Iterator[str]:
    """Names of the files in a WAL directory that PostgreSQL does not write to any more. Raises WalpyError."""
    try:
        names = set(os.listdir(folder))
        status = {os.path.splitext(name) for name in os.listdir(os.path.join(folder, STATUS_FOLDER))}
    except OSError as error:
        raise WalpyError(f"cannot list {folder!r}: {error.strerror}") from None
    is_itself = cache(partial(_is_itself, push, folder))  # each is looked at for itself, and for the one before it
    noted = {name for name, state in status if state in (READY, DONE)}
    for name in names:
        kind = wal_kind(name)
        if kind is WalKind.HISTORY or (kind is not WalKind.OTHER and name in noted):
            yield name
        elif kind is WalKind.SEGMENT:
            following = following_segment(name, push.segment_size)
            if following in names and is_itself(name) and is_itself(following):
                yield name


def _is_itself(push: WalPush, folder: str, name: str) -> bool:
    """Whether a segment holds what its name says, as far as its first page tells."""
    try:
        with SourceFile(os.path.join(folder, name)) as source:
            push.check(source)
    except (InvalidWal, WalpyError):  # recycled, or just removed
        return False
    return True
