"""What a failed push does last: it takes back what it stored, for a limited time."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from walpy.errors import WalpyError

if TYPE_CHECKING:
    from walpy.backup.commit import StoredBackup

CLEAN_UP_SECONDS = 30.0  # how long a backup is taken back after its storage has failed for the whole of its deadline

logger = logging.getLogger(__name__)


@contextmanager
def unfinished(stored: "StoredBackup", stop: Callable[[], None]) -> Iterator[None]:
    """Claim the backup's name, and undo everything when the body fails.

    stop: ends the backup in the server, and comes first; then what was stored is removed.
    """
    stored.claim()
    try:
        yield
    except BaseException as error:
        stop()
        # A storage that has just failed for the whole of its deadline may well do so once more.
        is_storage_gone = isinstance(error, WalpyError) and error.transient
        _discard(stored, CLEAN_UP_SECONDS if is_storage_gone else None)
        raise


def _discard(stored: "StoredBackup", seconds: float | None) -> None:
    """Remove what was stored, for at most so many seconds; tell when that fails."""
    thread = threading.Thread(target=_try_to_discard, args=(stored,), name="clean-up", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        _warn_of_left_overs(stored, "the storage does not answer")


def _try_to_discard(stored: "StoredBackup") -> None:
    try:
        stored.discard()
    except WalpyError as error:
        _warn_of_left_overs(stored, str(error))


def _warn_of_left_overs(stored: "StoredBackup", reason: str) -> None:
    logger.warning(
        "What was stored of backup %s could not be removed; it is not listed, and 'delete garbage' or the next "
        "backup of that name removes it: %s",
        *(stored.name, reason),
    )
